"""Resuming with other options: which options are applied, and which are refused."""
import json
import os
import re
import shutil

import pytest
import torch
from helpers import raises
from mmengine.config import Config
from runs import TINY, train

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.training.resume import checkpoint_to_resume, resume_from

pytestmark = pytest.mark.training


@pytest.fixture(scope='module')
def short(tmp_path_factory):
    """Returns the work dir of a finished run with two epochs of four steps."""
    work_dir = tmp_path_factory.mktemp('short') / 'work'
    run = train(work_dir, '--epochs=2')
    assert run.wait() == 0, run.text
    return work_dir


def rates(work_dir):
    """Returns the learning rate of each step."""
    found = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if 'loss' in entry:
                found[entry['step']] = entry['lr']
    return found


def resumed(work_dir, epoch, folder, *options, **more):
    """Copies the checkpoint of an epoch to a new work dir, resumes from it, and returns the finished run."""
    folder.mkdir()
    shutil.copy2(work_dir / f'epoch_{epoch}.pth', folder)
    run = train(folder, '--resume', *options, **more)
    run.wait()
    return run


@pytest.mark.parametrize('epoch, options', [
    (2, ('--epochs=5', )), (1, ('--epochs=2', '--lr=1e-6'))])
def test_resumed_schedules_equal_those_of_an_uninterrupted_run(short, epoch, options, tmp_path):
    whole = train(tmp_path / 'whole', *options)
    assert whole.wait() == 0, whole.text
    run = resumed(short, epoch, tmp_path / 'resumed', *options)
    assert run.wait() == 0, run.text
    expected, found = rates(tmp_path / 'whole'), rates(tmp_path / 'resumed')
    assert len(set(expected.values())) > 2
    assert found == {step: rate for step, rate in expected.items() if step > 4 * epoch}
    assert f'{found[4 * epoch + 1]:.4g} now' in run.text  # the summary has the rate of the first resumed step


def test_changes_of_the_config_are_listed(short, tmp_path):
    run = resumed(short, 1, tmp_path / 'resumed', '--lr=1e-6', '--epochs=2')
    assert run.wait() == 0 and re.search(r'^  \+ .*lr=1e-06', run.text, re.MULTILINE), run.text


@pytest.mark.parametrize('rank, lines', [('0', 1), ('1', 0)])
def test_a_finished_training_is_reported_by_one_process(rank, lines, tmp_path, monkeypatch, capsys):
    path = str(tmp_path / 'epoch_3.pth')
    torch.save(dict(meta=dict(epoch=3), message_hub={}, optimizer={}), path)
    monkeypatch.setenv('RANK', rank)
    resume_from(Config(dict(train_cfg=dict(max_epochs=3))), path)
    assert capsys.readouterr().out.count('already finished') == lines


@pytest.mark.parametrize('content, option, words', [
    ('', '--seed=5', ('seed 7', 'not 5', 'load_from')), ('', '--freeze=2', ('frozen stages', 'load_from')),
    ("optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1, weight_decay=0.))", '',
     ('AdamW', 'SGD', 'load_from'))])
def test_incompatible_changes_are_refused_in_one_line(short, content, option, words, tmp_path):
    config = tmp_path / 'edited.py'
    config.write_text(f"_base_ = '{TINY}'\n{content}\n")
    run = resumed(short, 1, tmp_path / 'resumed', '--epochs=2', *filter(None, [option]), config=config)
    assert run.wait() == 1
    assert all(word in run.error for word in words), run.error


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
    found = checkpoint_to_resume('newest', str(tmp_path))
    with raises(CheckpointError, 'weights.pth is truncated or corrupt; ', f'--resume {tmp_path}/epoch_2.pth') as caught:
        resume_from(Config(dict(train_cfg=dict(max_epochs=3))), found)
    assert '\n' not in str(caught.value) and 'Reader' not in str(caught.value)
    with raises(CheckpointError, 'epoch_3.pth is truncated or corrupt', f'--resume {tmp_path}/epoch_2.pth'):
        resume_from(Config(dict(train_cfg=dict(max_epochs=3))), str(path))
    for other in (1, 2):
        (tmp_path / f'epoch_{other}.pth').unlink()
    with raises(CheckpointError, 'epoch_3.pth', 'no other'):
        resume_from(Config(dict(train_cfg=dict(max_epochs=3))), str(path))
