"""Damaged checkpoint files are reported, and code in checkpoint files is not executed."""
import json
import os
import pickle
import zipfile

import pytest
import torch
from helpers import raises
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file

from mmvit_backbones import get_model
from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.utils import versions
from mmvit_backbones.zoo.files import load_checkpoint_file
from mmvit_backbones.zoo.loading import use_safe_loading


def load_for_mmengine(path: str) -> dict:
    use_safe_loading()
    return CheckpointLoader.load_checkpoint(path)


def load_for_timm(path: str) -> torch.nn.Module:
    timm = pytest.importorskip('timm')
    import mmvit_backbones.integrations.timm  # noqa: F401
    return timm.create_model('mmvit_rest_lite', checkpoint=path)


each_way = pytest.mark.parametrize('load', [
    load_checkpoint_file, load_for_mmengine, load_for_timm,
    lambda path: get_model('rest_lite', 'backbone', checkpoint=path)
], ids=['file', 'mmengine', 'timm', 'get_model'])


class Reduced:
    """An object whose pickle executes a call when it is loaded."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


@each_way
def test_code_does_not_run(load, tmp_path, own_loaders):
    path = str(tmp_path / 'bad.pth')
    torch.save(dict(state_dict={}, extra=Reduced(os.mkdir, (str(tmp_path / 'ran'), ))), path)
    with raises(CheckpointError, 'bad.pth', 'mkdir'):
        load(path)
    assert not (tmp_path / 'ran').exists()


def test_getattr_is_allowed_only_for_log_histories(tmp_path):
    torch.save(dict(extra=Reduced(getattr, (torch.Tensor, '__init__'))), tmp_path / 'bad.pth')
    with raises(CheckpointError, 'bad.pth'):
        load_checkpoint_file(tmp_path / 'bad.pth')


@each_way
def test_truncated_files_are_named(load, tmp_path, own_loaders):
    torch.save(dict(model={'norm.weight': torch.rand(100_000)}), tmp_path / 'whole.pth')
    (tmp_path / 'half.pth').write_bytes((tmp_path / 'whole.pth').read_bytes()[:50_000])
    with raises(CheckpointError, 'half.pth', 'truncated'):
        load(str(tmp_path / 'half.pth'))


@pytest.mark.parametrize('name, content', [('a.pth', b''), ('a.pth', b'text'), ('a.safetensors', b'text')])
def test_other_files_are_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with raises(CheckpointError, name, 'truncated') as caught:
        load_checkpoint_file(tmp_path / name)
    assert not str(caught.value).endswith(':')  # the error for an empty file has no message


@pytest.mark.parametrize('content, message', [
    (pickle.dumps(Reduced(os.getcwd, ())), 'torch.save'),  # not an archive of torch.save
    (b'<!DOCTYPE html><title>Quota exceeded</title>', 'web page'),
])
@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_errors_do_not_suggest_to_allow_code(content, message, tmp_path):
    (tmp_path / 'a.pth').write_bytes(content)
    with raises(CheckpointError, 'a.pth', message) as caught:
        load_checkpoint_file(tmp_path / 'a.pth')
    assert 'weights_only' not in str(caught.value)


def test_mmengine_reads_safetensors(tmp_path, own_loaders):
    save_file({'weight': torch.ones(3)}, tmp_path / 'a.safetensors')
    assert load_for_mmengine(str(tmp_path / 'a.safetensors'))['state_dict']['weight'].sum() == 3


def test_a_file_of_too_many_tensors_is_refused(tmp_path):
    """Each tensor takes memory and time, even if it is empty."""
    count = 200_000
    header = json.dumps({str(i): dict(dtype='F32', shape=[0], data_offsets=[0, 0]) for i in range(count)}).encode()
    (tmp_path / 'a.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header)
    with raises(CheckpointError, 'a.safetensors', 'header', len(header)):
        load_checkpoint_file(tmp_path / 'a.safetensors')
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        archive.writestr('a/data.pkl', b'\x80\x02' + b'N0' * 600_000 + b'N.')
    with raises(CheckpointError, 'a.pth', 'operations'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_missing_files_are_named(tmp_path):
    with raises(FileNotFoundError, 'nothing.pth'):
        load_checkpoint_file(tmp_path / 'nothing.pth')


def test_the_legacy_format_is_read_where_torch_reads_it_safely(tmp_path):
    torch.save({'weight': torch.ones(3)}, tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    if versions.is_older('2.10'):
        with raises(CheckpointError, 'a.pth', '2.10'):
            load_checkpoint_file(tmp_path / 'a.pth')
    else:
        assert load_checkpoint_file(tmp_path / 'a.pth')['weight'].sum() == 3
