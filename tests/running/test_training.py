"""Training on real images: every task, and a user's own config."""
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from small_recipes import divide_sizes, small_recipe, use_float32

from mmvit.configs.files import read_config
from mmvit_backbones.zoo.variants import VARIANTS

pytestmark = [
    pytest.mark.workflow, pytest.mark.usefixtures('frameworks'),
    pytest.mark.filterwarnings('ignore:.reduce_zero_label. will be deprecated'),  # mmseg's own base config
    pytest.mark.filterwarnings('ignore:.pin_memory. argument is set')]  # as in mmpretrain's script


@pytest.fixture
def train(run, own_loaders, monkeypatch):
    """Returns a function that runs `mmvit train` in this process, to save time for imports, and returns the log."""
    monkeypatch.chdir(ROOT)

    def train(config: Path, work_dir: Path, epochs: int, *options: str) -> list[dict]:
        run('train', str(config), '--work-dir', str(work_dir), '--cfg-options', f'train_cfg.max_epochs={epochs}',
            *options)
        return scalars(work_dir)

    return train


def scalars(work_dir: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for line in file.read_text().splitlines()]


# Every network as a classifier, detector or segmenter, and every head. test_configs.py tests the
# gradients of other combinations.
RECIPES = [
    'imagenet_remvitv2_t', 'imagenet_rest_lite', 'imagenet_vitaev2_vsa_s',
    'imagenet_refiner_vit_s_plain',  # token labels: test_tokens_learn_their_labels
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


def dicts_in(part) -> list[dict]:
    if isinstance(part, dict):
        return [part, *(found for value in part.values() for found in dicts_in(value))]
    return [found for value in part for found in dicts_in(value)] if isinstance(part, (list, tuple)) else []


def student(folder: Path, labels: Path) -> Path:
    """Writes the token label recipe for the flowers, with a narrow network and images of 64 x 64 pixels."""
    config = read_config(str(ROOT / 'configs/imagenet_refiner_vit_s.py'))
    config.model.backbone.update(arch=dict(embed_dims=48, depth=8, num_heads=4, mlp_ratio=3), img_size=64)
    config.model.head.update(in_channels=48, map_loss=dict(type='MapSimilarityLoss', num_pairs=6))
    for loader, split, images in ((config.train_dataloader, 'train', 16), (config.val_dataloader, 'val', 20)):
        pipeline = loader.dataset.pipeline
        divide_sizes(pipeline, 3.5)
        loader.update(batch_size=images, num_workers=0, persistent_workers=False)
        loader.dataset = dict(type='CustomDataset', data_root='data/flowers_mini', data_prefix=split, pipeline=pipeline)
    config.test_dataloader = config.val_dataloader
    use_float32(config)
    config.param_scheduler = []  # the warm-up would be longer than the run
    for node in dicts_in([config.model, config.data_preprocessor, config.train_dataloader]):
        if 'num_classes' in node:
            node['num_classes'] = 5
        if node.get('type') == 'LoadTokenLabels':
            node['root'] = str(labels)
        elif node.get('type') == 'PoolTokenLabels':
            node['grid_size'] = 4
    config.dump(folder / 'student.py')
    return folder / 'student.py'


@pytest.mark.slow
def test_tokens_learn_their_labels(train, tmp_path):
    """A small Refiner-ViT learns the recipe's token labels; here, all of an image favor its class."""
    labels = tmp_path / 'labels'
    for number, folder in enumerate(sorted(ROOT.glob('data/flowers_mini/train/*/'))):
        (labels / folder.name).mkdir(parents=True)
        classes = torch.arange(5).roll(-number).view(5, 1, 1).expand(5, 3, 3)
        for image in folder.glob('*.jpg'):
            torch.save(torch.stack([torch.arange(5., 0, -1).view(5, 1, 1).expand(5, 3, 3), classes.float()]),
                       labels / folder.name / f'{image.stem}.pt')
    log = train(student(tmp_path, labels), tmp_path / 'student', 2, 'optim_wrapper.optimizer.lr=2e-3',
                'default_hooks.logger.interval=5', 'log_processor.window_size=5', 'randomness.seed=0')
    for name in ('loss', 'loss_class', 'loss_dense'):
        losses = [entry[name] for entry in log if name in entry]
        assert sum(losses[-3:]) < sum(losses[:3]), name


USERS_CONFIG = """
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['mmvit_backbones'])
model = dict(
    backbone=dict(
        _delete_=True, type='ReSwin', out_indices=(0, 1, 2, 3),
        arch=dict(embed_dims=32, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=4)),
    neck=dict(in_channels=[32, 64, 128, 256]), roi_head=dict(bbox_head=dict(fc_out_channels=64)))
"""


def test_users_own_mmdet_config(tmp_path, monkeypatch):
    """A user's mmdet config needs only custom_imports and the backbone to train without `mmvit`."""
    from mmdet.testing import demo_mm_inputs
    (tmp_path / 'mine.py').write_text(USERS_CONFIG)
    monkeypatch.chdir(tmp_path)
    config = Config.fromfile('mine.py')
    init_default_scope('mmdet')
    model = MODELS.build(config.model)
    data = model.data_preprocessor(demo_mm_inputs(1, [[3, 64, 96]], use_box_type=True), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    torch.optim.AdamW(model.parameters()).step()
    assert loss.isfinite() and all(p.grad is not None for p in model.parameters() if p.requires_grad)


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
