"""The best checkpoint in a work dir is taken only if it is of the last training there."""
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmvit_backbones.zoo.reading import find_checkpoint


def save(path, losses, classes=('cat', 'dog'), best='', run=None) -> str:
    """Writes a checkpoint of a run with this id and these losses, which names its best one."""
    scalars = {'train/loss': HistoryBuffer(losses, [1] * len(losses))} if losses else {}
    torch.save(dict(meta=dict(dataset_meta=dict(classes=classes), run=run), state_dict={}, message_hub=dict(
        log_scalars=scalars, runtime_info=dict(best_ckpt=best))), path)
    return str(path)


@pytest.mark.parametrize('losses, classes, run, is_own', [
    ([3., 2.], ('cat', 'dog'), None, True), ([3., 2., torch.nan, 1.], ('cat', 'dog'), None, True),
    ([], ('cat', 'dog'), 'b', True), ([], ('cat', 'dog'), None, False), ([3., 2.], ('cat', 'dog'), 'a', False),
    ([3., 2.1], ('cat', 'dog'), None, False), ([3., 2.], ('red', 'green'), None, False)])
def test_the_best_checkpoint_of_another_run_is_not_taken(losses, classes, run, is_own, tmp_path, logged):
    """Runs are compared, not paths: a run that was killed after its best checkpoint was saved names another file."""
    best, last = save(tmp_path / 'best_acc_epoch_1.pth', losses, classes, run=run), tmp_path / 'interrupted.pth'
    save(last, [3., 2., torch.nan], best='/elsewhere/best_acc_epoch_7.pth', run=run and 'b')
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
