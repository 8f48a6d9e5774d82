"""Settings of OpenMMLab's own configs are those that their trainings take."""
import importlib

import pytest
from helpers import raises
from mmengine.config import Config

from mmvit.configs.settings import check_monitored, check_schedule, check_settings
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
def test_decaying_schedules_that_end_early_are_named(length, schedules, share, capsys):
    check_schedule(Config(dict(train_cfg=length, param_scheduler=schedules)), epoch_length=4)
    shown = capsys.readouterr().err
    assert (f'ends after {share} of the training' in shown) if share else not shown


@pytest.mark.parametrize('hooks, setting', [
    (dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best=['auto', 'mAP']))),
     'checkpoint.save_best'),
    (dict(custom_hooks=[dict(type='ResumableEarlyStoppingHook', monitor='bbox_mAP')]), 'custom_hooks.0.monitor')])
def test_metrics_without_the_prefix_of_the_validation_are_named(hooks, setting):
    with raises(UsageError, setting, 'coco/...', 'mAP'):
        check_monitored(Config(dict(val_evaluator=dict(type='mmdet.CocoMetric'), **hooks)))
    check_monitored(Config(dict(val_evaluator=dict(type='mmseg.IoUMetric'), **hooks)))
