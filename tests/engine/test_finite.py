"""Losses that are NaN or inf."""
from types import SimpleNamespace

import pytest
import torch
from helpers import raises
from mmengine.registry import HOOKS

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
