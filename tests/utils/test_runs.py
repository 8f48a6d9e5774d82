"""The checkpoint and the config of a training are found in its work dir."""
import os

import pytest
import torch
from helpers import raises
from mmengine.logging import HistoryBuffer

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


def save(path, losses, classes=('cat', 'dog'), best='') -> str:
    """Writes a checkpoint of a run with these losses, which names its best one."""
    history = HistoryBuffer(list(losses), [1] * len(losses))
    torch.save(dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict={}, message_hub=dict(
        log_scalars={'train/loss': history}, runtime_info=dict(best_ckpt=best))), path)
    return str(path)


@pytest.mark.parametrize('losses, classes, is_own', [
    ([3., 2.], ('cat', 'dog'), True), ([3., 2., torch.nan, 1.], ('cat', 'dog'), True), ([], ('cat', 'dog'), True),
    ([3., 2.1], ('cat', 'dog'), False), ([3., 2.], ('red', 'green'), False)])
def test_the_best_checkpoint_of_another_run_is_not_taken(losses, classes, is_own, tmp_path, logged):
    """Runs are compared, not paths: a run that was killed after its best checkpoint was saved names another file."""
    best, last = save(tmp_path / 'best_acc_epoch_1.pth', losses, classes), tmp_path / 'interrupted.pth'
    save(last, [3., 2., torch.nan], best='/elsewhere/best_acc_epoch_7.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/interrupted.pth')
    assert find_checkpoint(str(tmp_path)) == (best if is_own else str(last))
    assert is_own or f'{best} is of another training than {last}' in logged.text


def test_the_best_checkpoint_that_the_last_one_names_comes_first(tmp_path):
    """Copies of files have the times of the copying."""
    orig, copy = tmp_path / 'orig', tmp_path / 'copy'
    for folder in orig / 'checkpoints', copy / 'checkpoints':
        folder.mkdir(parents=True)
        for number in (2, 1):
            save(folder / f'best_acc_epoch_{number}.pth', [3., 2.])
        save(folder / 'epoch_2.pth', [3., 2.], best=str(orig / 'checkpoints/best_acc_epoch_2.pth'))
        (folder.parent / 'last_checkpoint').write_text(str(orig / 'checkpoints/epoch_2.pth'))
    for folder in orig, copy:
        assert find_checkpoint(str(folder)) == str(folder / 'checkpoints/best_acc_epoch_2.pth')
        assert find_checkpoint(str(folder / 'last_checkpoint')) == str(folder / 'checkpoints/epoch_2.pth')


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
