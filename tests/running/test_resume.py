"""Checkpoints from which a run cannot resume."""
import os

import pytest
import torch
from helpers import raises

from mmvit.running.checkpoints import check_state, whole_one_named
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.loading import read_checkpoint


def read_to_resume(path: str) -> None:
    check_state(read_checkpoint(path), path)


@pytest.mark.parametrize('damage', [
    lambda content: content[:len(content) // 2], lambda content: b'', lambda content: b'\0' * len(content),
    lambda content: content.replace(torch.full((99, ), 2.).numpy().tobytes(), torch.zeros(99).numpy().tobytes())])
def test_a_damaged_checkpoint_is_named(damage, tmp_path):
    path = tmp_path / 'epoch_3.pth'
    torch.save(dict(meta={}, message_hub={}, optimizer={}, state_dict=dict(x=torch.full((99, ), 2.))), path)
    path.write_bytes(damage(path.read_bytes()))
    with raises(CheckpointError, 'epoch_3.pth is ') as caught:
        read_to_resume(str(path))
    assert '\n' not in str(caught.value) and 'Reader' not in str(caught.value)


@pytest.mark.parametrize('has_whole', [True, False])
def test_the_newest_whole_checkpoint_is_named(has_whole, tmp_path):
    for number in 1, 2, 3, 4:
        torch.save(dict(meta={}, message_hub={}, optimizer={}, state_dict=dict(x=torch.ones(99))),
                   path := tmp_path / f'epoch_{number}.pth')
        os.utime(path, (number, number))
        if number > 2 or not has_whole:
            os.truncate(path, 1000)
    with pytest.raises(CheckpointError) as caught, whole_one_named(str(path)):
        read_to_resume(str(path))
    words = str(caught.value)
    assert 'epoch_4.pth is ' in words and (f'--resume {tmp_path / "epoch_2.pth"}' in words) == has_whole
    assert ('--resume' in words) == has_whole


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
