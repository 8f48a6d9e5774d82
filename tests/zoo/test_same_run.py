"""The best checkpoint in a work dir is taken only if it is of the last training there."""
import pytest
import torch

from mmvit.frameworks.tasks import TASKS
from mmvit_backbones.zoo.reading import METRICS, find_checkpoint


def save(path, run=None, **best) -> str:
    """Writes a checkpoint of the training with this first run, which names its best ones."""
    torch.save(dict(meta={}, state_dict={}, message_hub=dict(runtime_info=dict(best, experiment_name=run))), path)
    return str(path)


@pytest.mark.parametrize('run, is_own', [('a_20260101_000001', True), ('a_20260101_000002', False), (None, False)])
def test_the_best_checkpoint_of_another_run_is_not_taken(run, is_own, tmp_path, logged):
    """Runs are compared, not paths: a run that was killed after its best checkpoint was saved names another file."""
    best, last = save(tmp_path / 'best_acc_epoch_1.pth', run), tmp_path / 'interrupted.pth'
    save(last, 'a_20260101_000001', best_ckpt='/elsewhere/best_acc_epoch_7.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/interrupted.pth')
    assert find_checkpoint(str(tmp_path)) == (best if is_own else str(last))
    assert is_own or f'{best} is of another training than {last}' in logged.text


@pytest.mark.parametrize('has_last', [True, False])
@pytest.mark.parametrize('names', [('mAcc', 'mIoU'), ('mIoU', 'mAcc')])
def test_of_several_metrics_the_task_s_counts(names, has_last, tmp_path):
    """Also before the first ``last_checkpoint``, and in whatever order they were saved."""
    best = {f'best_ckpt_{name}': f'/elsewhere/best_{name}_epoch_1.pth' for name in names}
    files = [save(tmp_path / f'best_{name}_epoch_1.pth', **best) for name in names]
    if has_last:
        (tmp_path / 'last_checkpoint').write_text(save(tmp_path / 'epoch_2.pth', **best))
    assert find_checkpoint(str(tmp_path)) == files[names.index('mIoU')]
    assert set(METRICS) == {task.metric for task in TASKS}


def test_the_best_checkpoint_that_the_last_one_names_comes_first(tmp_path):
    """Copies of files have the times of the copying."""
    orig, copy = tmp_path / 'orig', tmp_path / 'copy'
    for folder in orig / 'checkpoints', copy / 'checkpoints':
        folder.mkdir(parents=True)
        for number in (2, 1):
            save(folder / f'best_acc_epoch_{number}.pth')
        save(folder / 'epoch_2.pth', best_ckpt=str(orig / 'checkpoints/best_acc_epoch_2.pth'))
        (folder.parent / 'last_checkpoint').write_text(str(orig / 'checkpoints/epoch_2.pth'))
    for folder in orig, copy:
        assert find_checkpoint(str(folder)) == str(folder / 'checkpoints/best_acc_epoch_2.pth')
        assert find_checkpoint(str(folder / 'last_checkpoint')) == str(folder / 'checkpoints/epoch_2.pth')
