"""Files in a work dir never make a run write, rename or remove files outside the work dir."""
import pytest
import torch
from helpers import raises
from mmengine.model import BaseModel
from mmengine.runner import Runner

from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.checkpoint_hook import AtomicBackend
from mmvit_backbones.training.resume import find_intact_checkpoint
from mmvit_backbones.training.work_dir import lock_work_dir


@pytest.fixture
def target(tmp_path):
    """A file outside the work dir that must not change."""
    path = tmp_path / 'target.pth'
    path.write_text('precious')
    (tmp_path / 'run').mkdir()
    yield path
    assert path.read_text() == 'precious'
    assert {path.name for path in tmp_path.iterdir()} == {'target.pth', 'run'}


def test_last_checkpoint_names_no_file_elsewhere(target, tmp_path):
    (tmp_path / 'run/last_checkpoint').write_text(str(target))
    assert find_intact_checkpoint(str(tmp_path / 'run')) is None


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)

    def forward(self, x, mode='loss'):
        return dict(loss=self.linear(x).sum())


def runner_of(work_dir, **arguments) -> Runner:
    """Returns an MMEngine runner with our checkpoint hook, as in a script that does not use `mmvit train`."""
    data = torch.utils.data.DataLoader([dict(x=torch.zeros(1))])
    return Runner(Line(), str(work_dir), data, train_cfg=dict(by_epoch=True, max_epochs=1),
                  optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), log_level='ERROR',
                  default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook')),
                  experiment_name=f'{work_dir}{len(arguments)}', **arguments)


def test_mmengine_resumes_from_no_file_elsewhere(target, tmp_path, own_loggers):
    run = tmp_path / 'run'
    runner_of(run).train()
    runner_of(run, resume=True).train()  # resumes from its own checkpoint
    (run / 'last_checkpoint').write_text(str(target))
    with raises(UsageError, 'last_checkpoint', target, run, 'load_from'):
        runner_of(run, resume=True, load_from=None).train()


def test_a_damaged_checkpoint_behind_a_link_is_left_there(target, tmp_path):
    state = dict(meta={}, message_hub={}, optimizer={})
    torch.save(state, tmp_path / 'run/epoch_1.pth')
    (tmp_path / 'run/epoch_2.pth').symlink_to(target)
    found = find_intact_checkpoint(str(tmp_path / 'run'))
    assert found == str(tmp_path / 'run/epoch_1.pth')


@pytest.mark.parametrize('name', ['.lock', 'last_checkpoint', 'config.py'])
def test_links_are_refused(name, target, tmp_path):
    (tmp_path / 'run' / name).symlink_to(target)
    with raises(UsageError, name, 'link'):
        lock_work_dir(str(tmp_path / 'run'))


@pytest.mark.parametrize('name', ['epoch_1.pth', 'epoch_1.pth.tmp'])
def test_checkpoints_are_not_written_through_links(name, target, tmp_path):
    (tmp_path / 'run' / name).symlink_to(target)
    AtomicBackend().put(b'weights', tmp_path / 'run/epoch_1.pth')
    assert (tmp_path / 'run/epoch_1.pth').read_bytes() == b'weights'
