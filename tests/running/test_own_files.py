"""A resumed run keeps to its work dir, wherever the run was before, and stops early as if it had not been resumed."""
import shutil
import signal

import pytest
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from runs import assert_same_weights
from tiny_runs import Sender, loader_of, log_of, runner_of

from mmvit_backbones.zoo.reading import LAST, find_checkpoint, last_of


class Scores(BaseMetric):
    """Gives a score for each validation, by the epoch that it follows."""

    def __init__(self, scores: list[float], epoch_of=lambda: 1) -> None:
        super().__init__()
        self.scores, self.epoch_of = scores, epoch_of

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results: list) -> dict[str, float]:
        score = self.scores[self.epoch_of() - 1]
        return dict(acc=score, iou=-score)


def run(work_dir, scores, epochs=None, hooks=(), checkpoint=None, before=None, **changes):
    """Trains with these scores of the validations, resumes if there is a checkpoint, and returns the runner."""
    metric = Scores(scores)
    if changes.get('resume'):
        changes.setdefault('load_from', last_of(work_dir / LAST))
    runner = runner_of(
        work_dir, train_cfg=dict(by_epoch=True, max_epochs=epochs or len(scores), val_interval=1),
        val_dataloader=loader_of(), val_cfg={}, val_evaluator=Evaluator(metric),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', **{
            'interval': 1, 'save_best': 'acc', 'rule': 'greater', 'max_keep_ckpts': 2, **(checkpoint or {})})),
        custom_hooks=[dict(type='ExactResumeHook'), dict(type='OwnFilesHook'), dict(type='InterruptHook'), *hooks],
        **changes)
    metric.epoch_of = lambda: runner.epoch
    if before is not None:
        runner.register_hook(before)
    runner.train()
    return runner


def files_of(folder) -> dict:
    """Returns the contents of the files in a folder, without the logs, to which all runs of a process write."""
    return {path: path.read_bytes() for path in sorted(folder.rglob('*'))
            if path.is_file() and path.suffix != '.log'}


def best_in(folder) -> list[str]:
    return sorted(path.name for path in folder.rglob('best_*.pth'))


@pytest.mark.parametrize('checkpoint', [
    {}, dict(save_best=['acc', 'iou'], rule='greater'), dict(save_best='auto', rule=None), dict(out_dir='elsewhere')])
def test_a_copied_run_leaves_the_original(checkpoint, tmp_path):
    orig, copy, elsewhere = tmp_path / 'orig', tmp_path / 'copy', tmp_path / 'elsewhere'
    if 'out_dir' in checkpoint:
        checkpoint = dict(out_dir=str(elsewhere))
    run(orig, [1., 2.], checkpoint=checkpoint)
    before = files_of(tmp_path)
    shutil.copytree(orig, copy)
    runner = run(copy, [1., 2., 3., 4.], checkpoint=checkpoint, resume=True)
    after = files_of(tmp_path)
    assert {path: after.get(path) for path in before} == before
    folder = elsewhere / 'copy' if elsewhere.exists() else copy
    assert [name for name in best_in(folder) if 'acc' in name] == ['best_acc_epoch_4.pth']
    assert str(folder / 'best_acc_epoch_4.pth') in runner.message_hub.runtime_info.values()


def test_a_work_dir_behind_a_link_is_resumed(tmp_path):
    run(tmp_path / 'run', [1., 2.])
    (tmp_path / 'link').symlink_to(tmp_path / 'run')
    run(tmp_path / 'link', [1., 2., 3.], resume=True)
    assert best_in(tmp_path / 'run') == ['best_acc_epoch_3.pth']


def test_a_moved_run_replaces_its_best_and_resumes(tmp_path):
    """Another run may be in its old place."""
    run(tmp_path / 'run', [1., 2.])
    (tmp_path / 'run').rename(tmp_path / 'moved')
    run(tmp_path / 'run', [5., 6.], randomness=dict(seed=2))
    before = files_of(tmp_path / 'run')
    runner = run(tmp_path / 'moved', [1., 2., 3.], resume=True)
    assert runner.iter == 12 and best_in(tmp_path / 'moved') == ['best_acc_epoch_3.pth']
    assert files_of(tmp_path / 'run') == before


def test_a_checkpoint_of_another_folder_leaves_it(tmp_path):
    """The best one is chosen again, and a file of the same name that another run has left is not this run's."""
    orig, other = tmp_path / 'orig', tmp_path / 'other'
    run(orig, [9., 1.])
    run(other, [9.], randomness=dict(seed=2))
    before = files_of(orig)
    runner = run(other, [9., 1., 2.], resume=True, load_from=str(orig / 'epoch_2.pth'))
    assert files_of(orig) == before
    assert 'best_acc_epoch_1.pth with the score 9.0, is not in' in log_of(other)
    assert runner.message_hub.get_info('best_ckpt') == str(other / 'best_acc_epoch_3.pth')
    assert find_checkpoint(str(other)) == str(other / 'best_acc_epoch_3.pth')


EARLY = dict(type='ResumableEarlyStoppingHook', monitor='acc', rule='greater', min_delta=0.1, patience=3)
SCORES = [1., 2., 1., 1., 1., 1., 1., 1., 1.]


def test_a_run_that_was_stopped_early_stays_stopped(tmp_path):
    assert run(tmp_path, SCORES, hooks=[EARLY]).epoch == 5
    before = (tmp_path / 'epoch_5.pth').read_bytes()
    assert run(tmp_path, SCORES, hooks=[EARLY], resume=True).epoch == 5
    assert (tmp_path / 'epoch_5.pth').read_bytes() == before
    assert run(tmp_path, SCORES, hooks=[{**EARLY, 'patience': 4}], resume=True).epoch == 6


def test_results_of_nothing_do_not_count(tmp_path):
    """The first score above 0 is the first one that is compared."""
    scores = [-1., *[0.] * 4, 0.5, *[0.] * 3, 1.]
    assert run(tmp_path, scores, hooks=[dict(EARLY, begin_above=0.)]).epoch == 9


@pytest.mark.parametrize('step', [13, 15, 17])  # within the fourth epoch, at its end and within the fifth
def test_the_patience_outlasts_an_interruption(step, tmp_path):
    whole = run(tmp_path / 'whole', SCORES, hooks=[EARLY])
    with pytest.raises(SystemExit):
        run(tmp_path / 'run', SCORES, hooks=[EARLY], before=Sender(signal.SIGTERM, step))
    resumed = run(tmp_path / 'run', SCORES, hooks=[EARLY], resume=True)
    assert (resumed.epoch, resumed.iter) == (whole.epoch, whole.iter) == (5, 20)
    assert_same_weights(tmp_path / 'whole/epoch_5.pth', tmp_path / 'run/epoch_5.pth')
    assert find_checkpoint(str(tmp_path / 'run')) == str(tmp_path / 'run/best_acc_epoch_2.pth')


class Killed(Hook):
    """Ends the run in the validation after an epoch."""

    def before_val(self, runner) -> None:
        if runner.epoch == 3:
            raise KeyboardInterrupt


def test_a_validation_that_was_killed_is_made_up_for(tmp_path):
    """The checkpoint of an epoch is saved before its validation."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [1., 2., 3., 0.], hooks=[EARLY], before=Killed())
    run(tmp_path, [1., 2., 3., 0.], hooks=[EARLY], resume=True)
    assert best_in(tmp_path) == ['best_acc_epoch_3.pth']
