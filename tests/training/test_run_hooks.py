"""Hooks that `mmvit` adds to a run."""
import pytest
import torch
from helpers import raises
from tiny_runs import Line, runner_of

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.training.run_hooks import CheckpointMatchHook

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
