"""Reading checkpoints to resume from: which one is found, changes of the config, and the seed."""
import os

import pytest
import torch
from helpers import raises
from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.resume import differences, find_intact_checkpoint, resume_from

STATE = dict(message_hub={}, optimizer={})
BEFORE = Config(dict(
    default_scope='mmpretrain', train_cfg=dict(max_epochs=3), model=dict(type='A', depth=2), work_dir='old',
    load_from='x', resume=True, launcher='none'))


def save(path, age: int = 0, **content) -> str:
    torch.save(content, path)
    os.utime(path, (10**9 - age, 10**9 - age))
    return str(path)


@pytest.fixture
def checkpoint(tmp_path):
    """Returns the path of a checkpoint after two of three epochs, beside the config of its training."""
    BEFORE.dump(tmp_path / 'config.py')
    code = "import os\nos.mkdir('ran')"  # must not run
    return save(tmp_path / 'epoch_2.pth', meta=dict(cfg=code, seed=7, epoch=2, iter=20), **STATE)


def now(**changes) -> Config:
    return Config({**BEFORE.to_dict(), 'work_dir': 'new', 'load_from': None, 'launcher': 'pytorch', **changes})


@pytest.mark.parametrize('changes, lines', [
    ({}, []), (dict(model=dict(type='A', depth=3)), ['model.depth: 2 -> 3']),
    (dict(model=dict(type='A'), extra=1), ['model.depth: 2 -> not set', 'extra: not set -> 1'])])
def test_changes_of_the_config_are_printed(checkpoint, changes, lines, capsys, monkeypatch):
    pytest.importorskip('mmpretrain')
    cfg = now(**changes)
    for rank in '10':
        monkeypatch.setenv('RANK', rank)
        resume_from(cfg, checkpoint)
        printed = capsys.readouterr()
        assert [line.strip() for line in printed.err.splitlines()[1:]] == (lines if rank == '0' else [])
        assert ('training continues with' in printed.err) == (rank == '0' and bool(lines)) and not printed.out
    assert (cfg.load_from, cfg.resume, cfg.randomness) == (checkpoint, True, dict(seed=7))


@pytest.mark.parametrize('train_cfg, length', [
    (dict(max_epochs=2), '2 epochs'), (dict(max_epochs=1), '1 epochs'), (dict(max_epochs=3), None),
    (dict(max_iters=20), '20 iterations'), (dict(max_iters=21), None), (dict(type='OwnLoop'), None)])
def test_finished_training_is_reported(checkpoint, train_cfg, length, capsys):
    resume_from(now(train_cfg=train_cfg), checkpoint)
    out = capsys.readouterr().out
    assert f'training of {length} has already finished' in out if length else not out


def test_checkpoint_with_little_metadata_is_resumed(tmp_path, capsys):
    cfg = now(train_cfg=dict(max_epochs=1))
    resume_from(cfg, save(tmp_path / 'a.pth', meta={}, **STATE))
    assert cfg.resume and cfg.randomness == dict(seed=None) and not ''.join(capsys.readouterr())


def test_seed_of_the_checkpoint_is_used(checkpoint):
    for given in (None, {}, dict(seed=None, deterministic=True), dict(seed=7)):
        cfg = now(randomness=given)
        resume_from(cfg, checkpoint)
        assert cfg.randomness == {**(given or {}), 'seed': 7}
    with raises(UsageError, checkpoint, 'seed 7', 'not 0', f'load_from={checkpoint}'):
        resume_from(now(randomness=dict(seed=0)), checkpoint)


def test_checkpoint_without_training_state_is_refused(tmp_path):
    path = save(tmp_path / 'a.pth', meta=dict(cfg=''), state_dict={})
    with raises(UsageError, path, 'no training state', f'load_from={path}'):
        resume_from(now(), path)


def test_newest_checkpoint_with_training_state_is_found(tmp_path, capsys):
    assert find_intact_checkpoint(str(tmp_path)) is None
    save(tmp_path / 'weights.pth', state_dict={})
    assert find_intact_checkpoint(str(tmp_path)) is None
    older = save(tmp_path / 'epoch_9.pth', age=2, meta={}, **STATE)
    newer = save(tmp_path / 'epoch_1.pth', age=1, meta={}, **STATE)
    save(tmp_path / 'best_acc.pth', meta={}, **STATE)
    (tmp_path / 'folder.pth').mkdir()
    assert find_intact_checkpoint(str(tmp_path)) == newer
    assert not capsys.readouterr().err
    os.remove(newer)
    assert find_intact_checkpoint(str(tmp_path)) == older


def test_damaged_checkpoints_are_renamed(tmp_path, capsys, monkeypatch):
    """Every process renames them, but only the first reports them."""
    older = save(tmp_path / 'epoch_1.pth', age=1, meta={}, **STATE)
    for rank, lines in (('1', 0), ('0', 1)):
        monkeypatch.setenv('RANK', rank)
        (tmp_path / 'epoch_2.pth').write_bytes(b'damaged')
        assert find_intact_checkpoint(str(tmp_path)) == older
        assert (tmp_path / 'epoch_2.pth.damaged').read_bytes() == b'damaged'
        error = capsys.readouterr().err
        assert error.count('\n') == error.count('epoch_2.pth.damaged: ') == lines
    os.remove(older)
    (tmp_path / 'epoch_3.pth').write_bytes(b'damaged')
    save(tmp_path / 'weights.pth', state_dict={})
    with raises(UsageError, tmp_path, 'no intact checkpoint'):
        find_intact_checkpoint(str(tmp_path))
    assert (tmp_path / 'epoch_3.pth.damaged').exists()


def test_a_saved_config_that_cannot_be_read_does_not_stop_the_training(checkpoint, tmp_path, capsys):
    (tmp_path / 'config.py').write_text('model = dict(')
    resume_from(now(), checkpoint)
    assert 'cannot be compared' in capsys.readouterr().err


@pytest.mark.parametrize('before, after, lines', [
    ({}, dict(a=1), ['a: not set -> 1']), (dict(a=1), {}, ['a: 1 -> not set']), (dict(a=1), dict(a=1), []),
    (dict(data=dict(type='X', n=1), b=2), dict(data=dict(type='Wrap', dataset=dict(type='X', n=1), k=3), b=2),
     ['data.dataset: was data', 'data.k: not set -> 3', "data.type: 'X' -> 'Wrap'"]),
    (dict(data=dict(type='X', n=1)), dict(data=dict(dataset=dict(type='X', n=1))), ['data.dataset: was data']),
    (dict(a=[dict(n=1), 2, [3, 4]]), dict(a=[dict(n=1), 5, [3, 6], 7]),
     ['a.1: 2 -> 5', 'a.2: [3, 4] -> [3, 6]', 'a.3: not set -> 7']),
    (dict(a=dict(x=dict(n=1), y=1)), dict(a=dict(x=dict(n=1), y=1, z=dict(n=1))), ['a.z.n: not set -> 1']),
    (dict(data=dict(a=1), other=dict(b=2, c=3)), dict(data=dict(inner=dict(a=1)), other=dict(b=4, d=5)),
     ['data.inner: was data', 'other.b: 2 -> 4', 'other.c: 3 -> not set', 'other.d: not set -> 5'])])
def test_differences_of_configs(before, after, lines):
    assert sorted(differences(before, after)) == sorted(lines)
