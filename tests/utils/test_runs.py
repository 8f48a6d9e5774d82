"""The checkpoint and the config of a training are found in its work dir."""
import os

from helpers import raises

from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.utils.runs import find_config
from mmvit_backbones.zoo.runs import find_checkpoint


def make(folder, *names: str) -> None:
    for age, name in enumerate(reversed(names)):
        (folder / name).write_text(name)
        os.utime(folder / name, (10**9 - age, 10**9 - age))


def test_best_or_else_last_checkpoint_is_found(tmp_path):
    with raises(CheckpointError, tmp_path, 'best_*.pth', 'last_checkpoint'):
        find_checkpoint(str(tmp_path))
    make(tmp_path, 'epoch_1.pth', 'epoch_2.pth')
    last = tmp_path / 'last_checkpoint'
    for named in tmp_path / 'epoch_1.pth', '/where/the/run/was/epoch_1.pth':  # the folder may have been moved
        last.write_text(f'{named}\n')
        for path in tmp_path, last:
            assert find_checkpoint(str(path)) == str(tmp_path / 'epoch_1.pth')
    make(tmp_path, 'best_acc_epoch_1.pth', 'best_acc_epoch_10.pth')
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / 'best_acc_epoch_10.pth')
    last.write_text('epoch_7.pth')
    with raises(CheckpointError, last, 'epoch_7.pth', 'does not exist'):
        find_checkpoint(str(last))
    for other in str(tmp_path / 'epoch_1.pth'), 'nothing.pth', 'https://example.org/a.pth', 'official://reswin_tiny':
        assert find_checkpoint(other) == other
    make(tmp_path, 'model.safetensors')  # a folder of converted weights
    assert find_checkpoint(str(tmp_path)) == str(tmp_path)


def test_the_config_beside_a_checkpoint_is_found(tmp_path):
    checkpoint = str(tmp_path / 'epoch_1.pth')
    with raises(CheckpointError, checkpoint, 'does not exist'):
        find_config(checkpoint)
    make(tmp_path, 'epoch_1.pth', 'last_checkpoint')
    for path in checkpoint, 'https://example.org/a.pth':
        with raises(UsageError, path, 'no config', '--config'):
            find_config(path)
    make(tmp_path, 'reswin.py')
    assert find_config(checkpoint) == str(tmp_path / 'reswin.py')
    make(tmp_path, 'rest.py')
    with raises(UsageError, checkpoint, 'reswin.py', 'rest.py', '--config'):
        find_config(checkpoint)
