"""Keeps the backbone frozen."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...utils.openmmlab_models import unwrap_model


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Keeps all weights and statistics of the backbone as they are."""

    def before_train(self, runner: Runner) -> None:
        unwrap_model(runner.model).backbone.requires_grad_(False)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        unwrap_model(runner.model).get_submodule('backbone').eval()
