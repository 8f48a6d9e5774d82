"""Settings of OpenMMLab's own configs are those that their trainings take."""
import importlib

import mmdet.evaluation
import mmseg.evaluation
import pytest
from helpers import raises
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from tiny_runs import loader_of, runner_of

from mmvit.configs.settings import check_settings
from mmvit_backbones.errors import UsageError


@pytest.mark.parametrize('path', [
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'mmpretrain::shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py',
    'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'])
def test_configs_of_the_frameworks_are_accepted(path, tmp_path):
    """They have schedulers by epoch that are updated by iteration, some without an end, and scopes of other files."""
    importlib.import_module(path.partition('::')[0])
    (tmp_path / 'own.py').write_text(f"_base_ = '{path}'")
    check_settings(Config.fromfile(tmp_path / 'own.py'))


WARM_UP = dict(type='LinearLR', by_epoch=False, begin=0, end=2)
EPOCHS, STEPS = dict(by_epoch=True, max_epochs=10), dict(type='IterBasedTrainLoop', max_iters=40)


@pytest.mark.parametrize('length, schedules, share', [
    (EPOCHS, [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=2, end=14)], '35%'),
    (EPOCHS, [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=2, end=40)], ''),
    (EPOCHS, dict(type='CosineAnnealingLR', T_max=7), '70%'),
    (EPOCHS, [dict(type='PolyLR', begin=0, end=9)], ''),
    (EPOCHS, [WARM_UP, dict(type='mmengine.PolyLR', begin=0, end=7, convert_to_iter_based=True)], '70%'),
    (STEPS, [dict(type='OneCycleLR', eta_max=0.01, total_steps=28, by_epoch=False)], '70%'),
    (EPOCHS, [dict(type='CosineAnnealingLR', end=7), dict(type='ConstantLR', begin=7, end=10)], ''),
    (EPOCHS, [WARM_UP, dict(type='MultiStepLR', milestones=[2, 3], end=4)], ''),
    (EPOCHS, [WARM_UP, dict(type='CosineAnnealingLR')], ''), (EPOCHS, None, '')])
def test_decaying_schedules_that_end_early_are_named(length, schedules, share, tmp_path, capsys):
    build_schedulers(tmp_path, length, schedules)
    shown = capsys.readouterr().err
    assert (f'ends after {share} of the training' in shown) if share else 'ends after' not in shown


def build_schedulers(folder, length: dict, schedules, processes: int = 1) -> None:
    """Lets a run of four steps per epoch build its schedules, as in its training."""
    runner = runner_of(folder, train_cfg=length, param_scheduler=schedules)
    runner.processes = processes
    assert runner.train_loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if schedules:
        runner.build_param_scheduler(runner.param_schedulers)


@pytest.mark.parametrize('end, is_early', [(20, False), (10, True)])
def test_the_length_of_a_schedule_is_that_for_several_processes(end, is_early, tmp_path, capsys):
    build_schedulers(tmp_path, EPOCHS, dict(type='CosineAnnealingLR', by_epoch=False, end=end), processes=2)
    assert ('ends after 50% of the training' in capsys.readouterr().err) == is_early


@pytest.mark.parametrize('hooks, setting', [
    (dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best=['mAP'], rule='greater'))),
     'checkpoint.save_best'),
    (dict(custom_hooks=[dict(type='ResumableEarlyStoppingHook', monitor='bbox_mAP', rule='greater')]),
     'EarlyStoppingHook.monitor')])
def test_metrics_without_the_prefix_of_the_validation_are_named(hooks, setting, tmp_path):
    def validate(metric) -> None:
        assert runner_of(tmp_path, **hooks, val_dataloader=loader_of(), val_cfg={}, val_evaluator=Evaluator(metric)
                         ).val_loop

    with raises(UsageError, setting, 'coco/...', 'mAP'):
        validate(mmdet.evaluation.CocoMetric())
    validate(mmseg.evaluation.IoUMetric())  # which has none
