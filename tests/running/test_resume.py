"""Checkpoints from which a run cannot resume."""
import os

import pytest
import torch
from helpers import raises

from mmvit.running.resume import read_to_resume
from mmvit_backbones.errors import CheckpointError, UsageError


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
    with raises(CheckpointError, 'epoch_3.pth is truncated or corrupt', f'--resume {tmp_path}/epoch_2.pth') as caught:
        read_to_resume(str(path))
    assert '\n' not in str(caught.value) and 'Reader' not in str(caught.value)
    for other in (1, 2):
        (tmp_path / f'epoch_{other}.pth').unlink()
    with raises(CheckpointError, 'epoch_3.pth', 'no other'):
        read_to_resume(str(path))


def test_weights_alone_cannot_be_resumed(tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(x=torch.ones(1))), path)
    with raises(UsageError, path, 'no training state', 'load_from'):
        read_to_resume(str(path))
