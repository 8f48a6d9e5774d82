"""Losses, weights and averages of weights that are NaN or inf."""
from types import SimpleNamespace

import pytest
import torch
from helpers import raises
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from tiny_runs import Line, runner_of

import mmvit.running  # noqa: F401  registers the hook
from mmvit_backbones.errors import TrainingError

NAN, INF = torch.tensor(torch.nan), torch.tensor(torch.inf)


@pytest.mark.parametrize('arguments, steps', [({}, 3), (dict(max_steps=1), 1)])
def test_consecutive_steps_without_a_finite_loss_end_the_training(arguments, steps):
    runner = SimpleNamespace(iter=0)
    hook = HOOKS.build(dict(type='FiniteLossHook', **arguments))
    almost = steps - 1
    for outputs in [*[dict(loss=NAN)] * almost, None, {}, *[dict(loss=NAN)] * almost, dict(loss=1.),
                    *[dict(loss=INF)] * almost]:
        hook.after_train_iter(runner, 0, outputs=outputs)
    with raises(TrainingError, 'iteration 1', f'the loss was inf for {steps} steps', 'clip_grad'):
        hook.after_train_iter(runner, 0, outputs=dict(loss=INF))


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
