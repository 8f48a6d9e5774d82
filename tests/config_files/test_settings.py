"""Settings of OpenMMLab's own configs are those that their trainings take."""
import importlib

import pytest
from helpers import raises
from mmengine.config import Config

from mmvit.configs.settings import check_settings
from mmvit.running import training_config
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


def in_bfloat16(name: str, loss: dict) -> Config:
    return training_config(name, precision='bfloat16', cfg_options={'model.rpn_head.loss_cls': loss} if loss else None)


@pytest.mark.parametrize('name, loss', [
    ('retinanet_regionvit_s', {}), ('dino_reswin_t', {}), ('mask_rcnn_reswin_t', dict(type='mmdet.FocalLoss'))])
def test_losses_without_a_kernel_are_refused_in_bfloat16(name, loss):
    with raises(UsageError, name, 'FocalLoss', 'loss_cls', 'float16'):
        check_settings(in_bfloat16(name, loss))
    check_settings(training_config(name, precision='float16'))


@pytest.mark.parametrize('name, loss', [
    ('mask_rcnn_reswin_t', dict(type='FocalLoss', activated=True)), ('imagenet_reswin_t', {})])
def test_losses_without_a_kernel_of_mmcv_are_taken_in_bfloat16(name, loss):
    check_settings(in_bfloat16(name, loss))
