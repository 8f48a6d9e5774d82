"""Checkpoints from which a run cannot resume."""
import os

import pytest
import torch
from helpers import raises

from mmvit.running.checkpoints import check_state, others_named
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.loading import read_checkpoint


def read_to_resume(path: str) -> None:
    with others_named(path):
        check_state(read_checkpoint(path), path)


@pytest.mark.parametrize('damage', [
    lambda content: content[:len(content) // 2], lambda content: b'', lambda content: b'\0' * len(content),
    lambda content: content.replace(torch.full((99, ), 2.).numpy().tobytes(), torch.zeros(99).numpy().tobytes())])
def test_a_damaged_checkpoint_names_the_newest_that_can_be_read(damage, tmp_path):
    for number in (1, 2, 3):
        path = tmp_path / f'epoch_{number}.pth'
        torch.save(dict(meta={}, message_hub={}, optimizer={}, state_dict=dict(x=torch.full((99, ), 2.))), path)
        os.utime(path, (number, number))
    path.write_bytes(damage(path.read_bytes()))
    (tmp_path / 'weights.pth').write_bytes(b'')
    torch.save(dict(meta={}, message_hub={}, optimizer={}, state_dict={}), tmp_path / 'best_ap.pth')
    with raises(CheckpointError, 'epoch_3.pth is truncated or corrupt', f'--resume {tmp_path}/epoch_2.pth') as caught:
        read_to_resume(str(path))
    assert '\n' not in str(caught.value) and 'Reader' not in str(caught.value)
    for other in (1, 2):
        (tmp_path / f'epoch_{other}.pth').unlink()
    with raises(CheckpointError, 'epoch_3.pth', 'no other'):
        read_to_resume(str(path))


@pytest.mark.parametrize('part', ['state_dict', 'ema_state_dict', 'optimizer'])
def test_a_checkpoint_that_is_not_finite_names_the_newest_that_is(part, tmp_path):
    for number, value in enumerate([1., torch.inf, torch.nan]):
        path, whole = tmp_path / f'epoch_{number}.pth', dict(x=torch.ones(2))
        checkpoint = dict(meta={}, message_hub={}, state_dict=whole, optimizer=dict(state={0: whole}))
        torch.save({**checkpoint, part: dict(state={0: dict(y=torch.tensor([0., value]))})}, path)
        os.utime(path, (number, number))
    with raises(CheckpointError, 'epoch_2.pth', f'{part}.state.0.y has NaN', f'--resume {tmp_path}/epoch_0.pth'):
        read_to_resume(str(path))
    with raises(CheckpointError, 'epoch_1.pth', 'has inf', f'--resume {tmp_path}/epoch_0.pth'):
        read_to_resume(str(tmp_path / 'epoch_1.pth'))


def test_weights_alone_cannot_be_resumed(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(x=torch.ones(1))), path)
    with raises(UsageError, path, 'no training state', 'load_from'):
        read_to_resume(str(path))
