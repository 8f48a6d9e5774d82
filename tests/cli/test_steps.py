"""Tests the steps of `mmvit train`, and `mmvit draw run`."""
import json
from argparse import Namespace
from pathlib import Path

import pytest
from helpers import ROOT, raises
from PIL import Image
from subcommands import module_of, parser_of

from mmvit_backbones.cli import steps, train
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import load_config


def config(name: str):
    return load_config(str(ROOT / 'configs' / f'{name}.py'))


@pytest.mark.parametrize('name, best', [
    ('imagenet_vitae_h', 'auto'), ('mask_rcnn_reswin_t', 'auto'), ('upernet_reswin_t', 'mIoU'),
    ('dino_reswin_t', 'auto')])
def test_a_run_is_reliable_and_keeps_few_checkpoints(name, best):
    cfg = config(name)
    steps.add_reliable_hooks(cfg, Namespace())
    hook = cfg.default_hooks.checkpoint
    assert (hook.backend_args, hook.max_keep_ckpts, hook.save_best) == (dict(backend='atomic'), 3, best)
    assert {'finite_loss', 'interrupt', 'exact_resume'} <= cfg.default_hooks.keys()


@pytest.mark.parametrize('options, adds', [([], True), (['--plain'], False)])
def test_additions_are_printed_and_plain_adds_nothing(options, adds, tmp_path, capsys):
    arguments = ['imagenet_reswin_t', '--class-folder', str(ROOT / 'data/flowers_mini'), '--work-dir', str(tmp_path),
                 '--check', *options]
    cfg = train.prepare(parser_of('train').parse_args(arguments))
    assert ('exact_resume' in cfg.default_hooks, cfg.train_dataloader.dataset.type == 'SeededDataset') == (adds, adds)
    assert capsys.readouterr().out.startswith('added to the config') == adds
    assert ('max_keep_ckpts' in cfg.default_hooks.checkpoint) == adds


@pytest.mark.parametrize('missing', ['val_dataloader', 'val_evaluator'])
def test_settings_of_the_config_are_kept(missing):
    cfg = config('imagenet_reswin_t')
    cfg.default_hooks.checkpoint.update(max_keep_ckpts=-1, interval=5)
    cfg[missing] = None
    steps.add_reliable_hooks(cfg, Namespace())
    assert cfg.default_hooks.checkpoint.max_keep_ckpts == -1 and 'save_best' not in cfg.default_hooks.checkpoint
    cfg.default_hooks = dict(checkpoint=dict(type='OwnHook'), finite_loss=dict(type='OwnHook'))
    steps.add_reliable_hooks(cfg, Namespace())
    assert cfg.default_hooks.checkpoint.type == cfg.default_hooks.finite_loss.type == 'OwnHook'
    cfg.pop('default_hooks')
    steps.add_reliable_hooks(cfg, Namespace())
    assert cfg.default_hooks.checkpoint == dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=3, backend_args=dict(backend='atomic'))


def test_training_data_are_wrapped_once():
    cfg = config('mask_rcnn_reswin_t')
    dataset, batch_sampler = cfg.train_dataloader.dataset, cfg.train_dataloader.batch_sampler
    steps.wrap_training_data(cfg, Namespace())
    steps.wrap_training_data(cfg, Namespace())
    assert cfg.train_dataloader.dataset == dict(type='SeededDataset', dataset=dataset)
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
    cfg.pop('visualizer')
    steps.add_logs(cfg, Namespace(tensorboard=True, wandb=True))
    assert cfg.visualizer == dict(type='SegLocalVisualizer', vis_backends=[
        dict(type=f'{name}VisBackend') for name in ('Local', 'Tensorboard', 'Wandb')])


def test_mixed_precision_needs_a_gpu():
    for dtype in 'float16', 'bfloat16':
        with raises(UsageError, dtype, 'GPU'):
            steps.use_precision(config('imagenet_reswin_t'), dtype, False, False)
    plain = config('imagenet_reswin_t').optim_wrapper
    del plain['loss_scale']
    for dtype in None, 'float32':
        cfg = config('imagenet_reswin_t')
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic', dtype='bfloat16', use_fsdp=True)
        steps.use_precision(cfg, dtype, False, False)
        assert cfg.optim_wrapper == dict(plain, type='OptimWrapper')


@pytest.mark.parametrize('precision, is_supported, changes', [
    ('float16', False, dict(type='AmpOptimWrapper', loss_scale='dynamic')),
    ('bfloat16', True, dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=1.)),
    ('float32', True, dict(type='OptimWrapper')), (None, True, dict(type='AmpOptimWrapper')),
    ('bfloat16', False, None)])
def test_precision_on_a_gpu(precision, is_supported, changes):
    cfg = config('imagenet_reswin_t')
    cfg.optim_wrapper.pop('loss_scale')
    before = dict(cfg.optim_wrapper)
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if changes is None:
        with raises(UsageError, 'bfloat16', '--amp'):
            steps.use_precision(cfg, precision, True, is_supported)
    else:
        steps.use_precision(cfg, precision, True, is_supported)
        assert cfg.optim_wrapper == {**before, **changes}


@pytest.mark.parametrize('given, expected', [
    (dict(dtype='bfloat16', loss_scale=1.), dict(dtype='float16', loss_scale='dynamic')),
    (dict(dtype='float16', loss_scale=512.), dict(dtype='float16', loss_scale=512.))])
def test_amp_is_float16(given, expected):
    """The config's loss scale is kept only if its dtype is float16, too."""
    cfg = config('imagenet_reswin_t')
    cfg.optim_wrapper.update(given, type='AmpOptimWrapper')
    steps.use_precision(cfg, 'float16', True, True)
    assert {name: cfg.optim_wrapper[name] for name in expected} == expected


def test_options_are_set_in_the_config():
    """Options that are not given change nothing."""
    given = dict(freeze=0, epochs=None, iters=None, lr=1e-3, early_stop=1, seed=0, batch_size=3, pretrained=None,
                 no_pretrained=False, strategy='ddp', tensorboard=False, wandb=False, cfg_options={}, needs=(),
                 config='imagenet_reswin_t', launcher='none', size=None)
    cfg, same = config('imagenet_reswin_t'), config('imagenet_reswin_t')
    chosen = [steps.set_size, steps.use_pretrained, steps.freeze, steps.set_batch_size, steps.set_length, steps.set_lr,
              steps.stop_early, steps.add_logs, steps.shard, steps.set_seed]
    before = same.to_dict()
    steps.take_steps(chosen, cfg, Namespace(**given))
    steps.take_steps(chosen, same, Namespace(**dict.fromkeys(given)))
    assert same.to_dict() == before
    assert (cfg.model.backbone.frozen_stages, cfg.optim_wrapper.optimizer.lr, cfg.randomness.seed) == (0, 1e-3, 0)
    assert cfg.custom_hooks[-1].patience == 1 and cfg.train_dataloader.batch_size == 3
    assert 'init_cfg' not in cfg.model.backbone and 'strategy' not in cfg
    del cfg.auto_scale_lr['base_batch_size']
    with raises(UsageError, '--lr auto', 'base_batch_size'):
        steps.set_lr(cfg, Namespace(lr='auto', config='imagenet_reswin_t', launcher='none'))


def test_batch_size_of_a_batch_sampler():
    cfg = config('imagenet_reswin_t')
    del cfg.train_dataloader['batch_size']
    with raises(UsageError, '--batch-size', 'batch_size'):
        steps.set_batch_size(cfg, Namespace(batch_size=5))
    cfg.train_dataloader.batch_sampler = dict(type='BatchSampler', batch_size=2)
    steps.set_batch_size(cfg, Namespace(batch_size=5))
    assert cfg.train_dataloader.batch_sampler.batch_size == 5 and 'batch_size' not in cfg.train_dataloader


def test_sharding_needs_several_processes():
    cfg = config('imagenet_reswin_t')
    cfg.launcher = 'none'
    with raises(UsageError, 'fsdp', '--processes'):
        steps.shard(cfg, Namespace(strategy='fsdp'))
    cfg.launcher, cfg.custom_hooks = 'pytorch', [dict(type='EMAHook')]
    with raises(UsageError, 'fsdp', 'EMAHook'):
        steps.shard(cfg, Namespace(strategy='fsdp'))
    cfg.custom_hooks = [dict(type='OtherHook')]
    steps.shard(cfg, Namespace(strategy='fsdp'))
    assert cfg.strategy == dict(type='ShardedStrategy')


@pytest.mark.parametrize('given, in_config, expected', [
    ('a', 'b', 'a'), (None, 'b', 'b'), (None, None, 'work_dirs/imagenet_reswin_t')])
def test_work_dir(given, in_config, expected):
    cfg = config('imagenet_reswin_t')
    cfg.work_dir = in_config
    steps.set_work_dir(cfg, Namespace(work_dir=given))
    assert cfg.work_dir == expected


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
    assert curves.keys() == {'loss', 'lr', 'accuracy/top1', 'epoch'}
    assert curves['loss'][19] == 7. and len(curves['loss']) == 19


def test_a_run_is_drawn_with_the_published_one(run, monkeypatch, tmp_path, capsys):
    """The published run is drawn a little beyond the end of the run, if the work dir has the config of its recipe."""
    shown, command = [], module_of('draw run')
    monkeypatch.setattr(command, 'save_figure', lambda figure, path, **options: shown.append(figure))
    work_dir = write_run(tmp_path / 'a', '20260101_000000', dict(loss=7., epoch=2, iter=2400, step=2400),
                         *({'accuracy/top1': 0.1, 'step': epoch} for epoch in range(1, 9)))
    with pytest.raises(SystemExit):
        run('draw run', str(work_dir), '--published')
    assert 'imagenet_vitaev2_s' in capsys.readouterr().err
    (work_dir / 'imagenet_vitaev2_s.py').touch()
    assert 'not comparable' not in run('draw run', str(work_dir), '--published')
    loss, accuracy = shown[0].axes[:2]
    assert [list(line.get_xdata()) for line in loss.lines] == [[2400], [626, 1877]]  # the middle of two epochs
    assert [max(line.get_xdata()) for line in accuracy.lines] == [8, 10]
    write_run(work_dir, '20260102_000000', dict(loss=7., epoch=1, iter=2400, step=2400))
    assert 'about 2400 updates per epoch instead of 1251' in run('draw run', str(work_dir), '--published')
    (work_dir / 'imagenet_vitaev2_s.py').write_text('train_cfg = dict(max_epochs=30)')
    assert ': 30 epochs instead of 310, about 2400' in run('draw run', str(work_dir), '--published')
    assert '30 epochs' in shown[-1].get_suptitle()


@pytest.mark.parametrize('number', [1, 2])
def test_curves_are_labeled(number, monkeypatch, tmp_path):
    """The loss has a point per iteration; metrics may have one per epoch. Curves of several runs begin with the run."""
    curves = {'loss': {1: 2., 2: 1.}, 'coco/bbox_mAP_50': {1: .5}, 'accuracy/top1': {1: 30.}, 'mIoU': {1: 40.}}
    shown, command = [], module_of('draw run')
    monkeypatch.setattr(command, 'save_figure', lambda figure, path, **options: shown.append(figure))
    command.draw({f'run{i}': curves for i in range(number)}, str(tmp_path / 'a.png'))
    panels = {axes.get_title(): axes for axes in shown[0].axes if axes.get_title()}
    assert list(panels) == ['loss', 'accuracy', 'coco/bbox', 'metric']
    assert [axes.get_xlabel() for axes in panels.values()] == ['iteration', *['epoch or iteration'] * 3]
    labels = [text.get_text() for text in panels['loss'].get_legend().get_texts()]
    assert labels == (['loss'] if number == 1 else ['run0: loss', 'run1: loss'])


@pytest.mark.parametrize('content, message', [
    (None, 'has no TIME/vis_data'), ('', 'no loss, learning rate or metric'),
    ('{"loss": 1}', 'line 1, is not an entry')])
def test_invalid_runs_are_reported(run, tmp_path, capsys, content, message):
    if content is not None:
        file = write_run(tmp_path, 'time') / 'time/vis_data/scalars.json'
        file.write_text(content)
    with pytest.raises(SystemExit):
        run('draw run', str(tmp_path))
    assert message in capsys.readouterr().err
