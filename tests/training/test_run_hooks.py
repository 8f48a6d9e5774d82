"""Hooks that `mmvit` adds to a run."""
import pytest
import torch
from helpers import raises
from tiny_runs import Line, runner_of

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.training.run_hooks import CheckpointMatchHook, OptionsHook, ProgressBarHook

pytestmark = pytest.mark.usefixtures('own_signals')


def test_checkpoint_of_another_network_is_refused(tmp_path):
    runner, weights = runner_of(tmp_path), Line().state_dict()
    part = dict(state_dict={'linear.weight': weights['linear.weight']})
    other = dict(state_dict={'conv.weight': torch.zeros(1)})
    for strict, checkpoint in ((True, dict(state_dict=weights)), (False, dict(state_dict=weights)), (False, part)):
        CheckpointMatchHook('a.pth', strict).after_load_checkpoint(runner, checkpoint)
    for strict, checkpoint, word in ((True, part, 'linear.bias'), (True, other, 'linear.weight'),
                                     (False, other, 'conv.weight')):
        with raises(CheckpointError, 'a.pth', word):
            CheckpointMatchHook('a.pth', strict).after_load_checkpoint(runner, checkpoint)


def test_checkpoints_have_the_options_of_the_run(tmp_path):
    runner = runner_of(tmp_path)
    runner.register_hook(OptionsHook(dict(epochs=3)))
    runner.train()
    assert torch.load(tmp_path / 'epoch_3.pth', weights_only=False)['meta']['options'] == dict(epochs=3)


def test_progress_bar_has_the_remaining_steps(tmp_path, capsys):
    runner = runner_of(tmp_path)
    runner.train_loop._iter = 4
    hook = ProgressBarHook()
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    shown = capsys.readouterr().err
    assert '0/8' in shown and '1/8' in shown
