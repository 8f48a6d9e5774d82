"""Setup of a run by `tools/train.py`, and `tools/analysis/plot_run.py`."""
import json
from pathlib import Path

import pytest
import torch
from common.run_setup import log_to, set_precision, use_reliable_data, use_reliable_hooks
from helpers import ROOT
from PIL import Image

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import load_config


def config(name: str):
    return load_config(str(ROOT / 'configs' / f'{name}.py'))


@pytest.mark.parametrize('name, best', [
    ('imagenet_vitae_h', 'auto'), ('mask_rcnn_reswin_t', 'auto'), ('upernet_reswin_t', 'mIoU')])
def test_a_run_keeps_few_checkpoints(name, best):
    cfg = config(name)
    use_reliable_hooks(cfg)
    hook = cfg.default_hooks.checkpoint
    assert (hook.type, hook.max_keep_ckpts, hook.save_best) == ('AtomicCheckpointHook', 3, best)


def test_what_the_config_says_stays():
    cfg = config('imagenet_reswin_t')
    cfg.default_hooks.checkpoint.update(max_keep_ckpts=-1, interval=5)
    cfg.val_dataloader = None
    use_reliable_hooks(cfg)
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == -1 and 'save_best' not in cfg.default_hooks.checkpoint


def test_training_data_are_wrapped_once():
    cfg = config('mask_rcnn_reswin_t')
    dataset, batch_sampler = cfg.train_dataloader.dataset, cfg.train_dataloader.batch_sampler
    use_reliable_data(cfg)
    use_reliable_data(cfg, max_skipped=3)
    assert cfg.train_dataloader.dataset == dict(type='ReliableDataset', dataset=dataset, max_skipped=3)
    assert cfg.train_dataloader.batch_sampler == dict(type='ResumableBatchSampler', batch_sampler=batch_sampler)


def test_logs_go_to_what_is_installed(monkeypatch):
    cfg = config('upernet_reswin_t')
    with pytest.raises(UsageError, match='wandb needs the package wandb'):
        monkeypatch.setattr('common.run_setup.find_spec', lambda name: None)
        log_to(cfg, 'wandb')
    monkeypatch.setattr('common.run_setup.find_spec', lambda name: True)
    for _ in range(2):
        log_to(cfg, 'tensorboard')
    assert [backend['type'] for backend in cfg.visualizer.vis_backends] == ['LocalVisBackend', 'TensorboardVisBackend']


@pytest.mark.skipif(torch.cuda.is_available(), reason='tells what is missing')
def test_mixed_precision_needs_a_gpu():
    with pytest.raises(UsageError, match='bfloat16 needs a CUDA GPU'):
        set_precision(config('imagenet_reswin_t'), 'bfloat16')


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
    assert run('analysis/plot_run.py', str(first), str(second), '--out', str(out)).endswith(f'-> {out}\n')
    with Image.open(out) as figure:
        assert figure.width > figure.height  # loss, learning rate and accuracy, side by side
    import runpy
    curves = runpy.run_path(str(ROOT / 'tools/analysis/plot_run.py'))['read_run'](first)
    assert curves.keys() == {'loss', 'lr', 'accuracy/top1'} and curves['loss'][19] == 7. and len(curves['loss']) == 19


@pytest.mark.parametrize('content, message', [(None, 'has no TIME/vis_data'), ('{"loss": 1}', 'line 1, is not what')])
def test_what_is_no_run_is_told(run, tmp_path, capsys, content, message):
    if content:
        file = write_run(tmp_path, 'time') / 'time/vis_data/scalars.json'
        file.write_text(content)
    with pytest.raises(SystemExit):
        run('analysis/plot_run.py', str(tmp_path))
    assert message in capsys.readouterr().err
