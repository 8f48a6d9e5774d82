"""Checkpoints from which a run cannot resume."""
import pytest
import torch
from helpers import raises

from mmvit.running.checkpoints import check_state
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.loading import read_checkpoint


def read_to_resume(path: str) -> None:
    check_state(read_checkpoint(path), path)


@pytest.mark.parametrize('part', ['state_dict', 'ema_state_dict', 'optimizer'])
@pytest.mark.parametrize('value, name', [(torch.nan, 'NaN'), (torch.inf, 'inf')])
def test_a_checkpoint_that_is_not_finite_is_named(part, value, name, tmp_path):
    path, whole = tmp_path / 'epoch_2.pth', dict(x=torch.ones(2))
    checkpoint = dict(meta={}, message_hub={}, state_dict=whole, optimizer=dict(state={0: whole}))
    torch.save({**checkpoint, part: dict(state={0: dict(y=torch.tensor([0., value]))})}, path)
    with raises(CheckpointError, 'epoch_2.pth', f'{part}.state.0.y has {name}'):
        read_to_resume(str(path))


def test_weights_alone_cannot_be_resumed(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(x=torch.ones(1))), path)
    with raises(UsageError, path, 'no training state', 'load_from'):
        read_to_resume(str(path))
