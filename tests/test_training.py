"""Training on real pictures through the tools, as a user would: each task, and a config of the user's own."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.training
DEMOS = sorted(path.name for path in (ROOT / 'configs/demo').glob('*.py'))


def run_tool(*arguments, cwd=ROOT) -> str:
    command = [sys.executable, str(ROOT / 'tools' / arguments[0]), *map(str, arguments[1:])]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def scalars(work_dir: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for line in file.read_text().splitlines()]


@pytest.mark.parametrize('name', DEMOS)
def test_step_reaches_every_parameter(name, tmp_path, monkeypatch):
    """One optimizer step on real pictures; DDP needs a gradient in every parameter."""
    monkeypatch.chdir(ROOT)
    config = Config.fromfile(f'configs/demo/{name}')
    config.work_dir, config.train_dataloader.batch_size = str(tmp_path), 2
    if config.default_scope == 'mmpretrain':
        config.train_dataloader.collate_fn = dict(type='default_collate')
    init_default_scope(config.default_scope)
    runner = Runner.from_cfg(config)
    loader = runner.build_dataloader(config.train_dataloader)
    model = runner.model.train()
    data = model.data_preprocessor(next(iter(loader)), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without and all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_classifier_beats_chance(tmp_path):
    run_tool('train.py', 'configs/demo/imagenet_reswin_t.py', '--work-dir', tmp_path)
    accuracy = [entry['accuracy/top1'] for entry in scalars(tmp_path) if 'accuracy/top1' in entry]
    assert accuracy[-1] >= 40


def test_segmenter_trains_and_is_evaluated(tmp_path):
    run_tool('train.py', 'configs/demo/upernet_reswin_t.py', '--work-dir', tmp_path, '--cfg-options',
             'train_cfg.max_iters=12', 'train_cfg.val_interval=12')
    losses = [entry['loss'] for entry in scalars(tmp_path) if 'loss' in entry]
    assert losses[-1] < losses[0]
    assert any(0 < entry.get('mIoU', -1) <= 100 for entry in scalars(tmp_path))


def test_detector_trains_and_is_evaluated(tmp_path):
    run_tool('train.py', 'configs/demo/mask_rcnn_reswin_t.py', '--work-dir', tmp_path, '--cfg-options',
             'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    losses = [entry['loss'] for entry in scalars(tmp_path) if 'loss' in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert any(0 <= entry.get('coco/segm_mAP', -1) <= 1 for entry in scalars(tmp_path))


USERS_CONFIG = """
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['mmvit_backbones'])
model = dict(
    backbone=dict(_delete_=True, type='ReSwin', arch='tiny', out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[96, 192, 384, 768]))
"""


def test_users_own_mmdet_config(tmp_path):
    """Nothing but custom_imports and the backbone's name, in a folder elsewhere, by mmdet's own means."""
    (tmp_path / 'mine.py').write_text(USERS_CONFIG)
    code = """
import torch
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
register_all_modules()
config = Config.fromfile('mine.py')
model = MODELS.build(config.model)
data = model.data_preprocessor(demo_mm_inputs(1, [[3, 64, 96]], use_box_type=True), training=True)
loss, _ = model.parse_losses(model(**data, mode='loss'))
optimizer = torch.optim.AdamW(model.parameters())
loss.backward()
optimizer.step()
assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
print('loss', loss.item())
"""
    result = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and 'loss' in result.stdout, result.stderr[-3000:]
