"""Training on real images: every task, and a user's own config."""
import runpy
import subprocess
import sys

import pytest
from helpers import ROOT
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from small_recipes import small_recipe

from mmvit_backbones.zoo.variants import VARIANTS

pytestmark = [
    pytest.mark.workflow, pytest.mark.usefixtures('frameworks'),
    pytest.mark.filterwarnings('ignore:.reduce_zero_label. will be deprecated'),  # mmseg's own base config
    pytest.mark.filterwarnings('ignore:.pin_memory. argument is set')]  # as in mmpretrain's script


# Every network as a classifier, detector or segmenter, and every head. test_configs.py tests the
# gradients of other combinations.
RECIPES = [
    'imagenet_remvitv2_t', 'imagenet_rest_lite', 'imagenet_vitaev2_vsa_s',
    'imagenet_refiner_vit_s_plain',  # token labels: data_sets/test_token_label_maps.py
    'mask_rcnn_regionvit_t', 'mask_rcnn_refiner_vit_s', 'cascade_mask_rcnn_reswin_t', 'retinanet_vitaev2_s',
    'dino_restv2_t', 'vitdet_vitae_b', 'mask2former_reswin_t', 'upernet_revit_b', 'upernet_swin_vsa_t_cityscapes_769',
    'mask2former_vitaev2_s_ade20k', 'semantic_fpn_regionvit_s_plus']
FIRST = {variant.family.backbone: variant for variant in reversed(VARIANTS.values())}  # of each network
parse_config_name = runpy.run_path(str(ROOT / 'tools/dev/make_metafiles.py'))['parse_config_name']
OTHERS = FIRST.keys() - {parse_config_name(name)[1].family.backbone for name in RECIPES}
RECIPES += [f'imagenet_{FIRST[name].short_name}' for name in sorted(OTHERS)]


@pytest.mark.parametrize('name', RECIPES)
def test_one_step_and_evaluation(name, tmp_path):
    """Takes one optimizer step on real images, and tests two images. DDP needs a gradient for every parameter."""
    config = small_recipe(name)
    config.work_dir = str(tmp_path)
    init_default_scope(config.default_scope)
    runner = Runner.from_cfg(config)
    runner.model = revert_sync_batchnorm(runner.model)  # SyncBatchNorm only runs on GPUs
    runner.model.init_weights()  # as in a training; some parameters of mmdet's heads have no values before
    model, optim_wrapper = runner.model.train(), runner.build_optim_wrapper(config.optim_wrapper)
    data = model.data_preprocessor(next(iter(runner.build_dataloader(config.train_dataloader))), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without and all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    optim_wrapper.step()
    metrics = runner.test()
    found = [value for value in metrics.values() if value == value]  # the AP of classes without objects is NaN
    assert found and all(value <= 100 for value in found)


USERS_CONFIG = """
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['mmvit_backbones'])
model = dict(
    backbone=dict(
        _delete_=True, type='ReSwin', out_indices=(0, 1, 2, 3),
        arch=dict(embed_dims=32, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=4)),
    neck=dict(in_channels=[32, 64, 128, 256]), roi_head=dict(bbox_head=dict(fc_out_channels=64)))
"""


def test_custom_imports_do_not_import_the_frameworks(tmp_path):
    (tmp_path / 'mine.py').write_text(USERS_CONFIG)
    code = """
import sys
from mmengine.config import Config
Config.fromfile('mine.py')
assert 'mmvit_backbones' in sys.modules
from mmengine.registry import HOOKS, OPTIM_WRAPPER_CONSTRUCTORS
assert all(HOOKS.get(name) for name in ('ExactResumeHook', 'FiniteLossHook', 'InterruptHook'))
assert OPTIM_WRAPPER_CONSTRUCTORS.get('LayerDecayConstructor')
assert not {'mmcv.ops', 'mmdet', 'mmseg', 'mmpretrain'} & sys.modules.keys()
"""
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
