"""Training on real images with the tools: each task, and a user's config."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from common import run_setup
from helpers import ROOT
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmvit_backbones.utils.file_configs import dicts_in

pytestmark = [pytest.mark.training, pytest.mark.usefixtures('frozen')]
# The other one needs labels that another demonstration makes: test_classifier_beats_chance_and_teaches_tokens.
DEMOS = sorted({path.name for path in (ROOT / 'configs/demo').glob('*.py')} - {'imagenet_refiner_vit_s_relabel.py'})


@pytest.fixture
def train(run, own_loaders, monkeypatch):
    """Trains by tools/train.py in this process, which saves imports, and returns the log.

    Visualizers are global: where a config names its own, a test has to rename it to write to its own folder.
    """
    monkeypatch.chdir(ROOT)

    def train(config: str | Path, work_dir: Path, epochs: int | None, *options: str) -> list[dict]:
        length = [] if epochs is None else [f'--epochs={epochs}']
        run('train.py', str(config), '--work-dir', str(work_dir), *length, '--cfg-options', *options)
        return scalars(work_dir)

    return train


def scalars(work_dir: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for line in file.read_text().splitlines()]


# A plain network, and recipes of which no demonstration has the heads; they borrow the data of one.
RECIPES = {
    'retinanet_vitaev2_s.py': 'mask_rcnn_vitaev2_s.py',
    'cascade_mask_rcnn_reswin_t.py': 'mask_rcnn_reswin_t.py',
    'mask_rcnn_revit_b.py': 'mask_rcnn_remvitv2_t.py',
    'upernet_revit_b.py': 'upernet_remvitv2_t.py',
    'imagenet_revit_b.py': 'imagenet_remvitv2_t.py',
}


def small_config(name: str) -> Config:
    """A demonstration, or a recipe with its data; a few images per step, and two for evaluation."""
    demo = Config.fromfile(f'configs/demo/{RECIPES.get(name, name)}')
    config = Config.fromfile(f'configs/{name}') if name in RECIPES else demo
    metric = config.test_evaluator.get('metric')
    for key in ('train_dataloader', 'test_dataloader', 'test_evaluator', 'train_cfg', 'param_scheduler'):
        config[key] = demo[key]
    if metric:
        config.test_evaluator.metric = metric  # boxes alone, or boxes and masks
    # Batch norms of the frameworks' heads need two images.
    config.train_dataloader.batch_size, config.test_dataloader.batch_size = 1 if 'roi_head' in config.model else 2, 1
    config.test_dataloader.dataset.indices = 2
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.visualizer.name = name  # they are global, and warn if two have one name
    config.default_hooks.pop('visualization', None)  # it warns that it has nothing to draw
    if config.default_scope == 'mmpretrain':
        config.train_dataloader.collate_fn = dict(type='default_collate')
    if name in RECIPES:
        shrink(config.model, demo.model)
    run_setup.set_precision(config, 'float32')  # which needs a GPU
    test_cfg = config.model.get('test_cfg', {})
    test_cfg = test_cfg.get('rcnn', test_cfg)
    if 'score_thr' in test_cfg:
        test_cfg.update(score_thr=0., max_per_img=10)  # after one step nothing is found with certainty
    return Config(config.to_dict(), format_python_code=False)  # a runner writes it three times, which takes a second


def shrink(model: dict, demo: dict) -> None:
    """Random weights, two cells of a plain network, fewer proposals, and crops of the demonstration's size."""
    backbone = model['backbone']
    backbone.pop('init_cfg', None)
    arch = MODELS.get(backbone['type']).arch_zoo[backbone['arch']]
    if 'depth' in arch:
        backbone['arch'] = dict(arch, depth=2)
    if 'roi_head' in model:
        model['train_cfg']['rpn_proposal']['max_per_img'] = model['test_cfg']['rpn']['max_per_img'] = 50
        heads = model['train_cfg']['rcnn']
        for head in heads if isinstance(heads, list) else [heads]:
            head['sampler']['num'] = 64
    if 'roi_head' in demo:  # the demonstration's classes
        for head in dicts_in(model):
            if 'num_classes' in head:
                head['num_classes'] = demo['roi_head']['bbox_head']['num_classes']
    if 'data_preprocessor' in model:
        model['data_preprocessor'] = demo['data_preprocessor']


@pytest.mark.parametrize('name', DEMOS + list(RECIPES))
def test_one_step_and_evaluation(name, tmp_path, monkeypatch):
    """One optimizer step on real images; DDP needs a gradient in every parameter. Then two images are tested."""
    monkeypatch.chdir(ROOT)
    config = small_config(name)
    config.work_dir, config.experiment_name = str(tmp_path), name  # otherwise the second of the start is the name
    init_default_scope(config.default_scope)
    runner = Runner.from_cfg(config)
    runner.model = revert_sync_batchnorm(runner.model)  # which only runs on GPUs
    model, optim_wrapper = runner.model.train(), runner.build_optim_wrapper(config.optim_wrapper)
    data = model.data_preprocessor(next(iter(runner.build_dataloader(config.train_dataloader))), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without and all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    optim_wrapper.step()
    metrics = runner.test()
    assert metrics and all(value <= 100 for value in metrics.values())


ARCH = dict(_delete_=True, embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], window_size=7, mlp_ratio=2)
CHANNELS = [16, 32, 64, 128]


def narrow(folder: Path, demo: str, lr: float = 2e-3, **parts) -> Path:
    """A demonstration with a narrow ReSwin, which learns quickly; ``parts`` of the model depend on its channels."""
    text = (f"_base_ = '{ROOT}/configs/demo/{demo}_reswin_t.py'\n"
            f'model = {dict(backbone=dict(arch=ARCH), **parts)}\n'
            f'optim_wrapper = dict(optimizer=dict(lr={lr}))\n')
    path = folder / f'{demo}.py'
    path.write_text(text)
    return path


def test_classifier_beats_chance_and_teaches_tokens(train, run, tmp_path):
    """A trained classifier labels the patches of the images; with these labels, a small Refiner-ViT learns."""
    config = narrow(tmp_path, 'imagenet', lr=4e-3, head=dict(in_channels=128))
    log = train(config, tmp_path / 'teacher', 4, 'train_dataloader.batch_size=8')
    # Of 60 images in 5 classes, 20 % are hit by chance, with a standard deviation of 5 %.
    assert [entry['accuracy/top1'] for entry in log if 'accuracy/top1' in entry][-1] >= 33
    labels, checkpoint = tmp_path / 'labels', tmp_path / 'teacher/epoch_4.pth'
    run('data/make_token_labels.py', 'data/flowers_mini/train', str(labels), str(config),
        '--checkpoint', str(checkpoint), '--size', '96', '--device', 'cpu')
    log = train('configs/demo/imagenet_refiner_vit_s_relabel.py', tmp_path / 'student', 2,
                f'train_dataloader.dataset.pipeline.1.root={labels}', 'model.backbone.arch.embed_dims=48',
                'model.head.in_channels=48')
    for name in ('loss', 'loss_class', 'loss_dense'):
        losses = [entry[name] for entry in log if name in entry]
        assert sum(losses[-3:]) < sum(losses[:3]), name


@pytest.mark.filterwarnings('ignore:The draw is False')  # mmseg's hook says so in every training with its defaults
def test_segmenter_trains_and_is_evaluated(train, tmp_path):
    config = narrow(tmp_path, 'upernet', decode_head=dict(in_channels=CHANNELS),
                    auxiliary_head=dict(in_channels=64))
    log = train(config, tmp_path, None, f'visualizer.name={tmp_path}', 'train_cfg.max_iters=12',
                'train_cfg.val_interval=12', 'val_dataloader.dataset.indices=6')
    losses = [entry['loss'] for entry in log if 'loss' in entry]
    assert losses[-1] < losses[0]
    assert any(0 < entry.get('mIoU', -1) <= 100 for entry in log)


def test_detector_trains_and_is_evaluated(train, tmp_path):
    config = narrow(tmp_path, 'mask_rcnn', neck=dict(in_channels=CHANNELS))
    log = train(config, tmp_path, None, f'visualizer.name={tmp_path}', 'train_cfg.max_epochs=2',
                'train_cfg.val_interval=2', 'param_scheduler.0.end=6', 'val_dataloader.dataset.indices=6')
    losses = [entry['loss'] for entry in log if 'loss' in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert any(0 <= entry.get('coco/segm_mAP', -1) <= 1 for entry in log)


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
    """Nothing but custom_imports and the backbone's name, in a folder elsewhere, by mmdet's own means."""
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


def test_custom_imports_leave_the_frameworks_alone(tmp_path):
    (tmp_path / 'mine.py').write_text(USERS_CONFIG)
    code = """
import sys
from mmengine.config import Config
Config.fromfile('mine.py')
assert 'mmvit_backbones' in sys.modules
assert not {'mmcv.ops', 'mmdet', 'mmseg', 'mmpretrain'} & sys.modules.keys()
"""
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
