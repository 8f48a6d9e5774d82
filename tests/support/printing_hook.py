"""A hook after whose first step a line is printed by MMEngine, one is logged, and one is printed by another library."""
import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PrintingHook(Hook):

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 0:
            print_log('printed by MMEngine', level=logging.WARNING)
            runner.logger.warning('logged as a warning')
            print('of another library')
