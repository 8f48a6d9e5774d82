"""Checkpoints are found; damaged files are reported, and code in files is not executed."""
import argparse
import errno
import functools
import importlib
import io
import os
import pickle
import resource
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raises
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import CheckpointLoader
from runs import in_own_process
from safetensors.torch import save_file

from mmvit_backbones import get_model
from mmvit_backbones.errors import CheckpointError, UnreadCheckpointError
from mmvit_backbones.utils import versions
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.loading import safe_loading
from mmvit_backbones.zoo.reading import find_checkpoint, read_file, read_object, warn_of_hole


def load_for_mmengine(path: str) -> dict:
    with safe_loading():
        return CheckpointLoader.load_checkpoint(path)


def load_for_timm(path: str) -> torch.nn.Module:
    timm = pytest.importorskip('timm')
    import mmvit_backbones.integrations.timm  # noqa: F401
    return timm.create_model('mm_rest_lite', pretrained=True, pretrained_cfg_overlay=dict(file=path))


each_way = pytest.mark.parametrize('load', [
    read_file, load_for_mmengine, load_for_timm,
    lambda path: get_model('rest_lite', 'backbone', checkpoint=path)
], ids=['file', 'mmengine', 'timm', 'get_model'])


class Reduced:
    """An object whose pickle executes a call when it is loaded."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.fixture(params=['new', 'old'])
def reader(request, monkeypatch):
    """Reads files as with the installed PyTorch, or as before PyTorch 2.6."""
    if request.param == 'old':
        monkeypatch.setattr(versions, 'is_older', lambda version: True)


def write_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def write_legacy(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def write_tar(value: object, path: Path) -> None:
    """Writes the format of PyTorch before 0.1.10."""
    with tarfile.open(path, 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            content = pickle.dumps(value if name == 'pickle' else 0, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


# Each call would create the file or folder `ran`.
CALLS = [
    Reduced(os.system, ('touch ran', )), Reduced(os.mkdir, ('ran', )), Reduced(eval, ("open('ran', 'w')", )),
    Reduced(pickle.loads, (pickle.dumps(Reduced(os.mkdir, ('ran', ))), )), Reduced(torch.save, (1, 'ran')),
    Reduced(torch.hub.load, ('.', 'evil')), Reduced(Config.fromfile, ('evil.py', )),
    Reduced(functools.reduce, (os.mkdir, ['ran', 0o700])), Reduced(np.save, ('ran', 0)),
    Reduced(getattr, (Reduced(importlib.import_module, ('os', )), 'mkdir')),
]


@pytest.mark.parametrize('write', [write_pickle, torch.save, write_legacy, write_tar])
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_code_does_not_run(reader, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.py').write_text("open('ran', 'w')")
    for call in CALLS:
        write(dict(state_dict={'weight': torch.zeros(1)}, extra=call), tmp_path / 'bad.pth')
        for mmap in (False, True):
            with raises(CheckpointError, 'bad.pth'):
                read_file(tmp_path / 'bad.pth', mmap=mmap)
            assert not (tmp_path / 'ran').exists(), call.call


@each_way
def test_every_way_of_loading_refuses_code(load, tmp_path, own_loaders):
    path = str(tmp_path / 'bad.pth')
    torch.save(dict(state_dict={}, extra=Reduced(os.mkdir, (str(tmp_path / 'ran'), ))), path)
    with raises(CheckpointError, 'bad.pth', f'would import {os.mkdir.__module__}.mkdir'):
        load(path)
    assert not (tmp_path / 'ran').exists()


def archive_of(path: Path, value: object, change: Callable[[zipfile.ZipInfo], None] = lambda info: None) -> Path:
    """Writes a value with torch.save, and changes the directory entries of the archive."""
    torch.save(value, path)
    with zipfile.ZipFile(path) as archive:
        records = [(info, archive.read(info)) for info in archive.infolist()]
    with zipfile.ZipFile(path, 'w') as archive:
        for info, content in records:
            change(info)
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize('map_location', ['cpu', None])
def test_a_dict_is_read(reader, map_location, tmp_path):
    value = dict(state_dict={'weight': torch.arange(3.)}, meta=dict(epoch=3), message_hub={})
    path = archive_of(tmp_path / 'a.pth', value, lambda info: setattr(info, 'external_attr', 0x21))  # as on Windows
    read = read_file(path, map_location)
    assert read['meta'] == dict(epoch=3) and read['state_dict']['weight'].tolist() == [0, 1, 2]
    assert read['state_dict']['weight'].device.type == 'cpu'
    assert read_file(path, 'meta')['state_dict']['weight'].is_meta
    assert read_file(path, mmap=True)['state_dict']['weight'].tolist() == [0, 1, 2]
    path.write_bytes(bytes(path.stat().st_size))
    assert read['state_dict']['weight'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('change', [lambda info: setattr(info, 'external_attr', 0x10),
                                    lambda info: setattr(info, 'compress_type', zipfile.ZIP_DEFLATED)],
                         ids=['folder', 'compressed'])
def test_records_that_pytorch_would_read_wrongly_are_refused(reader, change, tmp_path):
    path = archive_of(tmp_path / 'a.pth', {'weight': torch.ones(100)}, change)
    for mmap in (False, True):
        with raises(CheckpointError, 'a.pth', 'torch.save'):
            read_file(path, mmap=mmap)


def test_a_wrong_checksum_is_reported(reader, tmp_path):
    content = archive_of(tmp_path / 'a.pth', {'weight': torch.full((100, ), 7.)}).read_bytes()
    part = torch.full((3, ), 7.).numpy().tobytes()
    (tmp_path / 'a.pth').write_bytes(content.replace(part, bytes(12), 1))
    for load in (read_file, read_object, read_checkpoint):
        with raises(CheckpointError, 'a.pth', 'data/0'):
            load(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize('value, words', [
    ([torch.ones(3)], ['list']), (dict(state_dict={}, meta=7), ['meta', 'int']),
    (dict(state_dict={}, message_hub=[]), ['message_hub', 'list'])])
def test_other_values_are_named(value, words, tmp_path):
    torch.save(value, tmp_path / 'a.pth')
    with raises(CheckpointError, 'a.pth', 'dict', *words):
        read_file(tmp_path / 'a.pth')


def test_safetensors_in_the_home_folder_are_read(tmp_path, monkeypatch, own_loaders):
    save_file({'weight': torch.ones(3)}, tmp_path / 'model.safetensors')
    monkeypatch.setenv('HOME', str(tmp_path.parent))
    for path in (f'~/{tmp_path.name}/model.safetensors', tmp_path / 'model.safetensors'):
        assert read_file(path, None)['weight'].sum() == 3
        assert load_for_mmengine(str(path))['state_dict']['weight'].sum() == 3


def read_without_files(*paths: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for path in paths:
        read_file(path)  # imports what it needs
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
        with raises(UnreadCheckpointError, path, os.strerror(errno.EMFILE)) as error:
            read_file(path)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        assert 'corrupt' not in str(error.value)


def test_too_many_open_files_are_no_damage(tmp_path):
    torch.save({}, tmp_path / 'a.pth')
    save_file({}, tmp_path / 'a.safetensors')
    in_own_process(read_without_files, tmp_path / 'a.pth', tmp_path / 'a.safetensors')


@pytest.mark.parametrize('write, words', [
    (lambda path: torch.jit.save(torch.jit.script(torch.nn.Identity()), path), 'TorchScript'),
    (lambda path: torch.save(torch.nn.Identity(), path), 'more than weights'),
    (lambda path: shutil.make_archive(str(path), 'zip', path.parent) and os.rename(f'{path}.zip', path),
     'not written by torch.save'),
    (lambda path: path.write_text('version https://git-lfs.github.com/spec/v1\n'), 'git lfs pull'),
    (lambda path: path.write_text('{"weight_map": {}}'), 'several files')])
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_other_intact_files_are_not_called_damaged(reader, write, words, tmp_path):
    write(tmp_path / 'a.pth')
    with raises(CheckpointError, 'a.pth', words) as error:
        read_file(tmp_path / 'a.pth')
    assert 'corrupt' not in str(error.value)


@each_way
def test_truncated_files_are_named(load, tmp_path, own_loaders):
    torch.save(dict(model={'norm.weight': torch.rand(100_000)}), tmp_path / 'whole.pth')
    (tmp_path / 'half.pth').write_bytes((tmp_path / 'whole.pth').read_bytes()[:50_000])
    with raises(CheckpointError, 'half.pth', 'truncated'):
        load(str(tmp_path / 'half.pth'))


@pytest.mark.parametrize('name, content, word', [
    ('a.pth', b'', 'empty'), ('a.pth', b'text', 'truncated'), ('a.safetensors', b'text', 'truncated')])
def test_other_files_are_named(reader, name, content, word, tmp_path):
    (tmp_path / name).write_bytes(content)
    with raises(CheckpointError, name, word):
        read_file(tmp_path / name)


def test_folders_and_missing_files_are_named(tmp_path):
    with raises(CheckpointError, tmp_path, 'folder') as error:
        read_file(tmp_path)
    assert not isinstance(error.value, FileNotFoundError)
    with raises(FileNotFoundError, 'nothing.pth'):
        read_file(tmp_path / 'nothing.pth')


def test_the_legacy_format_is_read_where_torch_reads_it_safely(reader, tmp_path):
    torch.save({'weight': torch.ones(3)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    if versions.is_older('2.6'):
        with raises(CheckpointError, 'a.pth', '1.6', '2.6'):
            read_file(tmp_path / 'a.pth')
    else:
        assert read_file(tmp_path / 'a.pth')['weight'].sum() == 3
        os.truncate(tmp_path / 'a.pth', 200)
        with raises(CheckpointError, 'a.pth', 'truncated'):
            read_file(tmp_path / 'a.pth')


def test_state_of_a_training(reader, tmp_path):
    hub = MessageHub.get_instance('test_state_of_a_training')
    for loss in (3., 2., 1.):
        hub.update_scalar('train/loss', loss)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).half()
    optimizer = torch.optim.AdamW(model.parameters())
    value = dict(meta=dict(cfg='text', time=np.float64(2.5), seed=7, best=None, names=('a', 'b')),
                 state_dict=model.state_dict(), optimizer=optimizer.state_dict(), message_hub=hub.state_dict(),
                 args=argparse.Namespace(lr=0.1), array=np.arange(6.).reshape(2, 3).T, size=torch.Size([2, 3]),
                 parameter=torch.nn.Parameter(torch.rand(3)), dtype=torch.bfloat16)
    torch.save(value, tmp_path / 'a.pth')
    got = read_file(tmp_path / 'a.pth')
    assert all(got[key] == value[key] for key in ('meta', 'args', 'size', 'dtype', 'optimizer'))
    assert got['state_dict']._metadata == value['state_dict']._metadata
    assert all(torch.equal(got['state_dict'][key], x) for key, x in value['state_dict'].items())
    assert torch.equal(got['parameter'], value['parameter']) and np.array_equal(got['array'], value['array'])
    assert got['message_hub']['log_scalars']['train/loss'].mean() == 2.


def test_old_versions_of_torch_are_named_once(logged, monkeypatch, tmp_path):
    torch.save({'weight': torch.ones(3)}, tmp_path / 'a.pth')
    save_file({'weight': torch.ones(3)}, tmp_path / 'a.safetensors')
    monkeypatch.setattr(versions, 'is_older', lambda version: True)
    warn_of_hole.cache_clear()
    read_file(tmp_path / 'a.safetensors')
    assert not logged.text
    for _ in range(2):
        read_file(tmp_path / 'a.pth')
    assert logged.text.count('CVE-2025-32434') == 1 and '2.6' in logged.text and 'safetensors' in logged.text


# ---- work dirs


def make(folder, *names: str) -> None:
    for age, name in enumerate(reversed(names)):
        (folder / name).write_text(name)
        os.utime(folder / name, (10**9 - age, 10**9 - age))


def test_best_or_else_last_checkpoint_is_found(tmp_path):
    (tmp_path / 'model.safetensors').touch()  # of Hugging Face
    with raises(CheckpointError, tmp_path, 'best_*.pth', 'last_checkpoint', tmp_path / 'model.safetensors'):
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
