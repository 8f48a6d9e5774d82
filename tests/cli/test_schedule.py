"""Tests `--epochs`, `--iters`, `--lr`, `--early-stop` and `--freeze` of `mmvit train`."""
import json
import math

import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
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
    """Returns the learning rate at every step of a training."""
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


def test_mistakes_are_errors():
    with raises(UsageError, 'epochs', 'max_iters'):
        scale_length(config('upernet_reswin_t'), 'epochs', 3)
    with raises(UsageError, 'at least 1', '0'):
        scale_length(config('mask_rcnn_reswin_t'), 'epochs', 0)
    cfg = config('mask_rcnn_reswin_t')
    cfg.val_evaluator.type = 'LVISMetric'
    with pytest.raises(UsageError, match='CocoMetric'):
        stop_early(cfg, 3)
    pose = Config.fromfile(ROOT / 'configs/pose_vitaev2_s.py')
    stop_early(pose, 3)
    assert pose.custom_hooks[-1].monitor == pose.default_hooks.checkpoint.save_best == 'coco/AP'
    pose.val_evaluator.type = 'PCKAccuracy'
    with pytest.raises(UsageError, match='CocoMetric'):
        stop_early(pose, 3)


@pytest.mark.training
def test_options_change_the_run(tmp_path):
    """Trains with a learning rate near 0: the second evaluation is no better, so early stopping ends the training."""
    run = train(tmp_path / 'work', '--epochs=5', '--lr=1e-9', '--early-stop=1', '--freeze=2')
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
    run = train(tmp_path / 'work', '--epochs=1', '--batch-size=20', 'default_hooks.checkpoint=None')
    assert run.wait() == 0, run.text
    warning, = (line for line in run.text.splitlines() if 'is this intended' in line)
    assert 'single step' in warning and '20 images' in warning and '16' in warning
