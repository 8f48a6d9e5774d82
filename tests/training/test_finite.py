"""Losses that are NaN or inf."""
import pytest
import torch
from helpers import raises
from mmengine.registry import HOOKS
from tiny_runs import runner_of

from mmvit_backbones.errors import TrainingError
from mmvit_backbones.training import FiniteLossHook

NAN, INF = torch.tensor(torch.nan), torch.tensor(torch.inf)


@pytest.fixture
def runner(tmp_path):
    """Returns a runner whose optimizer has two learning rates."""
    groups = dict(paramwise_cfg=dict(bias_lr_mult=2.), optimizer=dict(type='SGD', lr=0.3))
    runner = runner_of(tmp_path, optim_wrapper=groups)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    return runner


@pytest.mark.parametrize('arguments, steps', [({}, 3), (dict(max_steps=1), 1)])
def test_consecutive_steps_without_a_finite_loss_end_the_training(arguments, steps, runner):
    hook = HOOKS.build(dict(type='FiniteLossHook', **arguments))
    almost = steps - 1
    for outputs in [*[dict(loss=NAN)] * almost, None, {}, *[dict(loss=NAN)] * almost, dict(loss=1.),
                    *[dict(loss=INF)] * almost]:
        hook.after_train_iter(runner, 0, outputs=outputs)
    with raises(TrainingError, 'iteration 1', f'the loss was inf for {steps} steps', 'learning rate 0.6',
                'all parameters are still finite', 'last checkpoint: none', 'clip_grad'):
        hook.after_train_iter(runner, 0, outputs=dict(loss=INF))


def test_first_parameter_that_is_not_finite_is_named(runner):
    runner.message_hub.update_info('last_ckpt', 'epoch_7.pth')
    torch.nn.init.constant_(runner.model.linear.bias, torch.inf)
    with raises(TrainingError, 'linear.bias', 'last checkpoint: epoch_7.pth'):
        FiniteLossHook(max_steps=1).after_train_iter(runner, 0, outputs=dict(loss=NAN))


def test_number_of_steps_is_checked():
    with raises(ValueError, 'max_steps', 'at least 1', '0'):
        FiniteLossHook(max_steps=0)
