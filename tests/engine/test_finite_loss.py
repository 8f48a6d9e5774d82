"""Losses, weights and averages of weights that are NaN or inf."""
import signal
from contextlib import nullcontext
from math import inf, nan
from pathlib import Path

import pytest
import torch
from helpers import raises
from mmengine.dist import get_rank
from mmengine.hooks import EMAHook, Hook
from runs import in_two_processes
from tiny_runs import Line, Sender, runner_of

from mmvit_backbones.errors import TrainingError


class Losses(Line):
    """Has the given losses, one per step, in the process with a rank; 1 in others."""

    def __init__(self, *losses: float, rank: int = 0) -> None:
        super().__init__()
        self.losses = iter(losses if get_rank() == rank else [1.] * len(losses))

    def forward(self, x, mode='loss'):
        return dict(loss=super().forward(x)['loss'] * 0 + next(self.losses))


@pytest.mark.parametrize('losses, arguments, stops', [
    ([nan, nan, 1., nan, inf, inf, 1.], {}, 6), ([1., inf, 1.], dict(max_steps=1), 2),
    ([nan, inf] + [1., inf] * 5, {}, 0)])
def test_consecutive_steps_without_a_finite_loss_end_the_training(losses, arguments, stops, tmp_path):
    runner = runner_of(tmp_path, model=Losses(*losses), default_hooks=dict(
        finite=dict(type='FiniteLossHook', **arguments), checkpoint=dict(type='CheckpointHook', interval=1)))
    with raises(TrainingError, f'iteration {stops}', 'the loss was inf', 'clip_grad') if stops else nullcontext():
        runner.train()
    assert len(list(tmp_path.glob('epoch_*.pth'))) == (stops or 12) // 4  # steps per epoch


def trained_together(rank: int, folder: Path) -> None:
    """Trains as one of two processes, the second of which gets losses of NaN, and then a signal."""
    hooks = dict(finite=dict(type='FiniteLossHook'), checkpoint=dict(type='CheckpointHook'))
    spoiled = runner_of(folder / 'run', model=Losses(1., nan, nan, nan, 1., rank=1), default_hooks=hooks)
    with raises(TrainingError, 'iteration 4', 'the loss was', 'nan' if rank else 'in another process'):
        spoiled.train()
    for number, finite in enumerate((hooks, dict(checkpoint=hooks['checkpoint']))):
        work_dir = folder / f'run{number}'
        runner = runner_of(work_dir, default_hooks=finite)
        if rank:
            runner.register_hook(Sender(signal.SIGTERM, 4))
        with pytest.raises(SystemExit, match='143'):
            runner.train()
        assert runner.iter == 4 and torch.load(work_dir / 'interrupted.pth', weights_only=False)['meta']['iter'] == 5
    torch.distributed.destroy_process_group()


def test_all_processes_stop_after_the_same_step(tmp_path):
    in_two_processes(trained_together, tmp_path)


class Spoil(Hook):
    """Puts a value into the second epoch's weights, buffers, averaged weights or the state of the optimizer."""

    def __init__(self, place: str, value: float) -> None:
        self.place, self.value = place, value

    def after_train_epoch(self, runner) -> None:
        average, = (hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook))
        state = next(iter(runner.optim_wrapper.optimizer.state.values()))
        if runner.epoch == 1:
            dict(weights=runner.model.linear.weight, buffers=runner.model.scale, averages=average.linear.weight,
                 optimizer=state['momentum_buffer'])[self.place].data.fill_(self.value)


@pytest.mark.parametrize('place', ['weights', 'buffers', 'averages', 'optimizer'])
@pytest.mark.parametrize('value', [torch.nan, torch.inf])
def test_a_checkpoint_that_is_not_finite_is_not_saved(place, value, tmp_path):
    model = Line()
    model.register_buffer('scale', torch.ones(2))
    model.register_buffer('mask', torch.tensor([0., -torch.inf]))  # as attention has them
    runner = runner_of(
        tmp_path, model=model, custom_hooks=[dict(type='EMAHook'), Spoil(place, value)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1), finite=dict(type='FiniteLossHook')))
    with raises(TrainingError, 'iteration 8', 'has NaN' if value != value else 'has inf', 'earlier checkpoint'):
        runner.train()
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')
