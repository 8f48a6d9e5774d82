"""Tests `--epochs`, `--iters`, `--lr` and `--early-stop` of `mmvit train`."""
import json
import math

import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import ConfigDict
from mmengine.optim import LinearLR, OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from runs import train

from mmvit_backbones.cli.schedule import scale_length, scale_lr, stop_early
from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.plan import unfitting_schedule
from mmvit_backbones.utils.config import load_config


def config(name, options=None):
    return load_config(str(ROOT / 'configs' / f'{name}.py'), options)


def schedulers(cfg, optimizer, steps_per_epoch):
    found = []
    for schedule in cfg.param_scheduler:
        scheduler = PARAM_SCHEDULERS.get(schedule['type'])
        arguments = {key: value for key, value in schedule.items() if key not in ('type', 'convert_to_iter_based')}
        build = scheduler.build_iter_from_epoch if schedule.get('convert_to_iter_based') else scheduler
        extra = dict(epoch_length=steps_per_epoch) if schedule.get('convert_to_iter_based') else {}
        found.append(build(optimizer=optimizer, **arguments, **extra))
    return found


def optimizer_of(lr):
    return OptimWrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr))


def rates(cfg, steps_per_epoch):
    """Returns the learning rate at every step of a run."""
    optimizer, found = optimizer_of(cfg.optim_wrapper.optimizer.lr), []
    of_steps = schedulers(cfg, optimizer, steps_per_epoch)
    by_epoch = 'max_epochs' in cfg.train_cfg
    steps = cfg.train_cfg.max_epochs * steps_per_epoch if by_epoch else cfg.train_cfg.max_iters
    for step in range(steps):
        found.append(optimizer.param_groups[0]['lr'])
        for scheduler in of_steps:
            if not scheduler.by_epoch or (step + 1) % steps_per_epoch == 0:
                scheduler.step()
    return found


@pytest.mark.filterwarnings('ignore:Detected call')  # the optimizer takes no steps
@pytest.mark.parametrize('name', ['imagenet_reswin_t', 'mask_rcnn_reswin_t'])
@pytest.mark.parametrize('epochs', [1, 2])
def test_learning_rates_of_short_runs_warm_up_and_decay(name, epochs):
    cfg = config(name)
    scale_length(cfg, 'epochs', epochs)
    found = rates(cfg, 1000)
    assert found[0] < max(found) / 2 and min(found) >= 0
    # A milestone after the last step has no effect.
    assert name == 'mask_rcnn_reswin_t' or found[-1] < max(found) / 2


@pytest.mark.filterwarnings('ignore:Detected call')  # the optimizer takes no steps
@pytest.mark.parametrize('name, unit, length, steps_per_epoch', [
    ('mask_rcnn_reswin_t', 'epochs', 6, 1000), ('imagenet_reswin_t', 'epochs', 30, 20),
    ('upernet_reswin_t', 'iters', 1600, 1), ('mask_rcnn_regionvit_s', 'iters', 9000, 1)])
def test_the_whole_schedule_is_scaled(name, unit, length, steps_per_epoch):
    """Checks that the scaled learning rate curve has the shape of the original one."""
    whole, scaled = config(name), config(name)
    scale_length(scaled, unit, length)
    scale_lr(scaled, 2 * whole.optim_wrapper.optimizer.lr)
    factor = length / whole.train_cfg[f'max_{unit}']
    before, after = rates(whole, steps_per_epoch), rates(scaled, steps_per_epoch)
    assert len(after) == round(factor * len(before))
    for share in (0.3, 0.6, 0.8, 0.95):
        assert math.isclose(after[int(share * len(after))], 2 * before[int(share * len(before))], rel_tol=0.06)
    assert scaled.train_cfg.val_interval <= length
    assert scaled.default_hooks.checkpoint.interval <= length


@pytest.mark.parametrize('name, options, steps, scheduled', [
    ('mask_rcnn_reswin_t', {'train_cfg.max_epochs': 40}, 4000, 1200),
    ('upernet_reswin_t', {'train_cfg.max_iters': 4000}, 4000, 160000),
    ('mask_rcnn_reswin_t', {'train_cfg.max_epochs': 12}, 1200, None), ('imagenet_refiner_vit_s', {}, 31000, None)])
def test_schedule_of_another_length_gives_a_warning(name, options, steps, scheduled):
    found = schedulers(config(name, options), optimizer_of(0.1), 100)
    warning = unfitting_schedule(found, steps, steps_per_epoch=100)
    assert warning is None if scheduled is None else f'{scheduled} steps, but training has {steps}' in warning


def test_warm_up_to_a_constant_rate_fits():
    warm_up = LinearLR(optimizer_of(0.1), start_factor=0.1, by_epoch=False, end=50)
    assert unfitting_schedule([warm_up], 1200, 100) is None
    assert '50 steps, but training has 40' in unfitting_schedule([warm_up], 40, 10)


def test_scaled_schedules_have_whole_numbers():
    """Spans are rounded and milestones rounded down, to at least 1. Rates are scaled with the peak."""
    cfg = ConfigDict(
        filename='a.py', train_cfg=dict(max_epochs=12, val_interval=4, val_begin=1),
        optim_wrapper=dict(optimizer=dict(lr=0.1)),
        default_hooks=dict(checkpoint=dict(interval=2)), default_scope='mmdet', custom_hooks=[dict(type='EMAHook')],
        val_evaluator=[dict(type='OtherMetric'), dict(type='CocoMetric')], param_scheduler=[
            dict(begin=0, end=10**9, T_max=7),
            dict(begin=1, end=12, step_size=12, total_steps=2, milestones=[1, 8, 11]),
            dict(eta_min=0.01, eta_max=1, periods=[8, 4])])
    scale_length(cfg, 'epochs', 6)
    scale_lr(cfg, 0.2)
    assert cfg.param_scheduler == [
        dict(begin=0, end=10**9, T_max=4), dict(begin=1, end=6, step_size=6, total_steps=1, milestones=[1, 4, 5]),
        dict(eta_min=0.02, eta_max=2, periods=[4, 2])]
    assert cfg.train_cfg == dict(max_epochs=6, val_interval=2, val_begin=1) and cfg.optim_wrapper.optimizer.lr == 0.2
    assert cfg.default_hooks.checkpoint.interval == 1
    scale_length(cfg, 'epochs', 60)
    assert cfg.train_cfg == dict(max_epochs=60, val_interval=2, val_begin=1)  # intervals are not lengthened
    assert cfg.param_scheduler[1]['end'] == 60 and cfg.default_hooks.checkpoint.interval == 1
    scale_length(cfg, 'epochs', 1)
    assert cfg.param_scheduler[1] == dict(begin=0, end=1, step_size=1, total_steps=1, milestones=[1, 1, 1])
    stop_early(cfg, 1)
    assert cfg.custom_hooks == [dict(type='EMAHook'), dict(
        type='EarlyStoppingHook', monitor='coco/bbox_mAP', patience=1, min_delta=0.001, rule='greater')]
    iterations = ConfigDict(filename='b.py', train_cfg=dict(max_iters=100), optim_wrapper=dict())
    scale_length(iterations, 'iters', 50)
    assert iterations.train_cfg.max_iters == 50
    with raises(UsageError, '--iters', 'at least 1', '-1'):
        scale_length(iterations, 'iters', -1)
    with raises(UsageError, '--lr', 'optimizer.lr'):
        scale_lr(iterations, 1)
    with raises(UsageError, '--iters', 'max_epochs', '--epochs'):
        scale_length(cfg, 'iters', 1)
    for lr in 0., -1.:
        with raises(UsageError, '--lr', 'above 0', lr):
            scale_lr(cfg, lr)
    with raises(UsageError, '--early-stop', 'at least 1', '0'):
        stop_early(cfg, 0)


@pytest.mark.parametrize('name, change', [
    ('imagenet_reswin_t', 0.1), ('upernet_reswin_t', 0.1), ('mask_rcnn_reswin_t', 0.001)])
def test_early_stopping_counts_only_changes_above_the_noise(name, change):
    cfg = config(name)
    stop_early(cfg, 2)
    hook = cfg.custom_hooks[-1]
    assert (hook.min_delta, hook.patience, hook.rule) == (change, 2, 'greater')


def test_mistakes_are_errors():
    with raises(UsageError, 'epochs', 'max_iters'):
        scale_length(config('upernet_reswin_t'), 'epochs', 3)
    with raises(UsageError, 'at least 1', '0'):
        scale_length(config('mask_rcnn_reswin_t'), 'epochs', 0)
    cfg = config('mask_rcnn_reswin_t')
    cfg.val_evaluator.type = 'LVISMetric'
    with pytest.raises(UsageError, match='CocoMetric'):
        stop_early(cfg, 3)


@pytest.mark.training
def test_options_change_the_run(tmp_path):
    """Trains with a learning rate near 0: the second evaluation is no better, so early stopping ends the training."""
    run = train(tmp_path / 'work', '--epochs=5', '--lr=1e-9', '--early-stop=1')
    assert run.wait() == 0, run.text
    log, = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert max(entry.get('epoch', 0) for entry in entries) == 2
    assert all(entry.get('lr', 0) <= 1e-9 for entry in entries)
    before, = run.text.split('Epoch(train)')[:1]
    assert len(before.splitlines()) < 25, before
    for text in ('5 epochs of 4 steps, 4 images per step', '16 images from', '1e-09 at its peak', 'float32', 'random',
                 'without a better accuracy/top1', f'{tmp_path}/work', '5: daisy, dandelion, roses'):
        assert text in before, text
    file, = (tmp_path / 'work').glob('*/*.log')
    assert 'Config:' in file.read_text() and 'System environment' in file.read_text()


@pytest.mark.training
def test_unusual_settings_are_reported_in_one_warning(tmp_path):
    run = train(tmp_path / 'work', '--epochs=1', '--batch-size=20', 'default_hooks.checkpoint=None',
                'train_dataloader.drop_last=False')
    assert run.wait() == 0, run.text
    warning, = (line for line in run.text.splitlines() if 'is this intended' in line)
    assert 'single step' in warning and '20 images' in warning and '16' in warning
