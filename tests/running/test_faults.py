"""Training runs with injected faults: printed errors, remaining files and exact resuming."""
import resource
import shutil
import signal

import pytest
from runs import assert_same_weights, train

pytestmark = pytest.mark.workflow


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Returns the work dir of an uninterrupted run."""
    work_dir = tmp_path_factory.mktemp('whole') / 'whole'
    run = train(work_dir)
    assert run.wait() == 0, run.text
    return work_dir


def stopped_after(whole, work_dir, epochs):
    """Returns a work dir that looks as if the machine had crashed after some epochs."""
    work_dir.mkdir()
    for epoch in range(1, epochs + 1):
        shutil.copy2(whole / f'epoch_{epoch}.pth', work_dir)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / f'epoch_{epochs}.pth'))
    return work_dir


# ---- checkpoints


def test_full_disk_leaves_the_older_checkpoint(whole, tmp_path):
    work_dir = stopped_after(whole, tmp_path / 'work', 2)
    limits = {resource.RLIMIT_FSIZE: (whole / 'epoch_1.pth').stat().st_size // 2}
    run = train(work_dir, '--resume', limits=limits)
    assert run.wait() == 1
    assert f'{work_dir / "epoch_3.pth"} cannot be written: File too large' in run.error
    assert not list(work_dir.glob('epoch_3*'))
    assert_same_weights(whole / 'epoch_2.pth', work_dir / 'epoch_2.pth')


# ---- signals


def test_interrupted_training_is_resumed_exactly(whole, tmp_path):
    """The interruptions are within epochs; the interrupted runs have workers, and the uninterrupted run has none."""
    work_dir = tmp_path / 'work'
    for number, code, step, workers in [(signal.SIGKILL, -9, 6, 2), (signal.SIGTERM, 143, 6, 2),
                                          (signal.SIGINT, 130, 9, 1)]:
        run = train(work_dir, '--resume', f'train_dataloader.num_workers={workers}',
                    'train_dataloader.persistent_workers=True')
        run.wait_for(f'Epoch(train) [{(step - 1) // 4 + 1}][{(step - 1) % 4 + 1}/4]')
        run.signal(number)
        assert run.wait() == code, run.text
        if code > 0:  # after SIGKILL, the remaining workers may print errors
            assert 'Traceback' not in run.text and f'{number.name}: stopped after iteration' in run.text
    run = train(work_dir, '--resume')
    assert run.wait() == 0, run.text
    assert_same_weights(whole / 'epoch_3.pth', work_dir / 'epoch_3.pth')


# ---- other work dirs and configs


def test_finished_training_is_not_changed(whole, tmp_path):
    work_dir = stopped_after(whole, tmp_path / 'work', 3)
    run = train(work_dir, '--resume')
    assert run.wait() == 0, run.text
    assert_same_weights(whole / 'epoch_3.pth', work_dir / 'epoch_3.pth')
