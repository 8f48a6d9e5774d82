"""A checkpoint that cannot be resumed names the newest one that can."""
import os

import pytest
import torch
from helpers import raises

from mmvit.running.resume import read_to_resume
from mmvit_backbones.errors import CheckpointError

TWOS = torch.full((99, ), 2.).numpy().tobytes()


@pytest.mark.parametrize('damage', [
    lambda content: content[:len(content) // 2], lambda content: b'', lambda content: bytes(len(content)),
    lambda content: content.replace(TWOS, bytes(len(TWOS)))])
def test_a_damaged_checkpoint_names_the_newest_that_can_be_read(damage, tmp_path):
    paths = [tmp_path / f'epoch_{number}.pth' for number in (1, 2, 3)]
    for number, path in enumerate(paths):
        torch.save(dict(meta={}, message_hub={}, optimizer={}, state_dict=dict(x=torch.full((99, ), 2.))), path)
        os.utime(path, (number, number))
    paths[2].write_bytes(damage(paths[2].read_bytes()))
    (tmp_path / 'best_ap.pth').write_bytes(paths[0].read_bytes())
    with raises(CheckpointError, 'epoch_3.pth is truncated or corrupt', f'--resume {paths[1]}') as caught:
        read_to_resume(str(paths[2]))
    assert '\n' not in str(caught.value) and 'Reader' not in str(caught.value)
    for path in paths[:2]:
        path.unlink()
    with raises(CheckpointError, 'epoch_3.pth', 'no other'):
        read_to_resume(str(paths[2]))
