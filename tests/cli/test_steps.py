"""Tests the steps of `mmvit train`, `--plan`, and `mmvit draw run`."""
import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from helpers import ROOT, raises
from PIL import Image
from runs import TINY
from verbs import module_of

from mmvit_backbones.cli import steps
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import load_config


def config(name: str):
    return load_config(str(ROOT / 'configs' / f'{name}.py'))


def test_plan_shows_the_step_of_each_change(run, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = run('train', str(TINY), '--plan', '--epochs=6', '--lr=0.5', '--work-dir', str(tmp_path / 'work'),
                '--cfg-options', 'default_hooks.finite_loss.max_steps=9', 'default_hooks.label_check=None')
    changes, title = {}, ''
    for line in shown.splitlines():
        if line.startswith('      '):
            changes[line.strip().split(': ')[0], title.split('.')[1].split()[0]] = line.split(': ', 1)[1]
        else:
            title = line
    assert changes['default_hooks.finite_loss.type', 'Adds'] == "not set -> 'FiniteLossHook'"
    assert changes['default_hooks.finite_loss.max_steps', 'Applies'] == 'not set -> 9'  # an earlier step added the hook
    assert changes['train_cfg.max_epochs', 'Sets'] == '3 -> 6'
    assert changes['optim_wrapper.optimizer.lr', 'Sets'].endswith(' -> 0.5')
    assert changes['train_dataloader.dataset.type', 'Wraps'] == "'CustomDataset' -> 'ReliableDataset'"
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('name, best', [
    ('imagenet_vitae_h', 'auto'), ('mask_rcnn_reswin_t', 'auto'), ('upernet_reswin_t', 'mIoU'),
    ('dino_reswin_t', 'auto')])
def test_a_run_is_reliable_and_keeps_few_checkpoints(name, best):
    cfg = config(name)
    steps.add_reliable_hooks(cfg, Namespace())
    hook = cfg.default_hooks.checkpoint
    assert (hook.type, hook.max_keep_ckpts, hook.save_best) == ('AtomicCheckpointHook', 3, best)
    assert {'finite_loss', 'interrupt', 'label_check', 'exact_resume'} <= cfg.default_hooks.keys()


def test_settings_of_the_config_are_kept():
    cfg = config('imagenet_reswin_t')
    cfg.default_hooks.checkpoint.update(max_keep_ckpts=-1, interval=5)
    cfg.val_dataloader = None
    steps.add_reliable_hooks(cfg, Namespace())
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == -1 and 'save_best' not in cfg.default_hooks.checkpoint


def test_training_data_are_wrapped_once():
    cfg = config('mask_rcnn_reswin_t')
    dataset, batch_sampler = cfg.train_dataloader.dataset, cfg.train_dataloader.batch_sampler
    steps.wrap_training_data(cfg, Namespace(on_bad_data=None, max_skipped=None))
    steps.wrap_training_data(cfg, Namespace(on_bad_data=None, max_skipped=3))
    assert cfg.train_dataloader.dataset == dict(type='ReliableDataset', dataset=dataset, max_skipped=3)
    assert cfg.train_dataloader.batch_sampler == dict(type='ResumableBatchSampler', batch_sampler=batch_sampler)


def test_log_backends_must_be_installed(monkeypatch):
    cfg = config('upernet_reswin_t')
    with raises(UsageError, 'wandb'):
        monkeypatch.setattr(steps, 'find_spec', lambda name: None)
        steps.add_logs(cfg, Namespace(tensorboard=False, wandb=True))
    monkeypatch.setattr(steps, 'find_spec', lambda name: True)
    for _ in range(2):
        steps.add_logs(cfg, Namespace(tensorboard=True, wandb=False))
    assert [backend['type'] for backend in cfg.visualizer.vis_backends] == ['LocalVisBackend', 'TensorboardVisBackend']


@pytest.mark.skipif(torch.cuda.is_available(), reason='needs a machine without a GPU')
def test_mixed_precision_needs_a_gpu():
    with raises(UsageError, 'bfloat16', 'GPU'):
        steps.set_precision(config('imagenet_reswin_t'), Namespace(precision='bfloat16'))


def test_missing_token_labels_are_reported_before_the_training(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg = config('imagenet_reswin_t')
    pipeline = [dict(type='LoadTokenLabels', root=str(tmp_path / 'labels'), num_classes=5)]
    cfg.train_dataloader.dataset = dict(type='CustomDataset', data_root='data/flowers_mini/train', pipeline=pipeline)
    cfg.val_dataloader = cfg.val_evaluator = None
    with raises(UsageError, 'labels', 'mmvit data token-labels'):
        steps.check_training_data(cfg, Namespace())


def write_run(work_dir: Path, time: str, *entries: dict) -> Path:
    file = work_dir / time / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    file.write_text('\n'.join(map(json.dumps, entries)))
    return work_dir


def test_runs_are_drawn(run, tmp_path):
    first = write_run(tmp_path / 'a', '20260101_000000', *(
        dict(loss=1 / step, lr=0.1, iter=step, step=step, epoch=1, time=0.1) for step in range(1, 20)))
    write_run(first, '20260102_000000', dict(loss=7., lr=0.1, iter=19, step=19), {'accuracy/top1': 3., 'step': 1})
    second = write_run(tmp_path / 'b', '20260101_000000', dict(loss=2., lr=0.1, iter=1, step=1))
    out = tmp_path / 'runs.png'
    assert run('draw run', str(first), str(second), '--out', str(out)).endswith(f'-> {out}\n')
    with Image.open(out) as figure:
        assert figure.width > figure.height  # loss, learning rate and accuracy, side by side
    curves = module_of('draw run').read_run(first)
    assert curves.keys() == {'loss', 'lr', 'accuracy/top1'} and curves['loss'][19] == 7. and len(curves['loss']) == 19


@pytest.mark.parametrize('content, message', [
    (None, 'has no TIME/vis_data'), ('{"loss": 1}', 'line 1, is not an entry')])
def test_invalid_runs_are_reported(run, tmp_path, capsys, content, message):
    if content:
        file = write_run(tmp_path, 'time') / 'time/vis_data/scalars.json'
        file.write_text(content)
    with pytest.raises(SystemExit):
        run('draw run', str(tmp_path))
    assert message in capsys.readouterr().err
