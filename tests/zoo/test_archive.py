"""The safe reader of PyTorch's archives returns the saved objects and refuses harmful files."""
import argparse
import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from helpers import raises
from mmengine.logging import HistoryBuffer, MessageHub

from mmvit_backbones.zoo.archive import RefusedError, read_archive
from mmvit_backbones.zoo.files import load_checkpoint_file


class Reduced:
    """An object whose pickle executes a call when it is loaded."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


def written(value: object, path) -> str:
    torch.save(value, path)
    return str(path)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8], ids=str)
def test_tensors(dtype, tmp_path):
    x = (10 * torch.randn(4, 6)).to(dtype)
    value = dict(whole=x, view=x.t()[1::2], empty=x[:0], scalar=x[0, 0], nothing=torch.tensor([], dtype=dtype),
                 of_gradients=torch.rand(3, requires_grad=True), parameter=torch.nn.Parameter(torch.rand(3)),
                 frozen=torch.nn.Parameter(torch.rand(3), requires_grad=False))
    got = read_archive(written(value, tmp_path / 'a.pth'))
    for name, expected in value.items():
        assert torch.equal(got[name], expected) and got[name].dtype == expected.dtype
        assert got[name].requires_grad == expected.requires_grad and type(got[name]) is type(expected)
    assert got['view'].untyped_storage().data_ptr() == got['whole'].untyped_storage().data_ptr()


@pytest.mark.parametrize('read', [read_archive, load_checkpoint_file])
def test_state_of_a_training(read, tmp_path):
    hub = MessageHub.get_instance('test_state_of_a_training')
    for loss in (3., 2., 1.):
        hub.update_scalar('train/loss', loss)
    hub.update_info('iter', 3)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(4, 2)).sum().backward()
    optimizer.step()
    value = dict(meta=dict(cfg='text', time=np.float64(2.5), seed=7, best=None, names=('a', 'b')),
                 state_dict=model.state_dict(), optimizer=optimizer.state_dict(), message_hub=hub.state_dict(),
                 args=argparse.Namespace(lr=0.1), array=np.arange(6.).reshape(2, 3).T, size=torch.Size([2, 3]))
    got = read(written(value, tmp_path / 'a.pth'))
    assert got['meta'] == value['meta'] and got['args'] == value['args'] and got['size'] == value['size']
    assert isinstance(got['state_dict'], OrderedDict) and got['state_dict']._metadata == value['state_dict']._metadata
    torch.testing.assert_close(got['optimizer'], value['optimizer'])
    assert np.array_equal(got['array'], value['array'])
    assert got['message_hub']['log_scalars']['train/loss'].mean() == 2.
    assert got['message_hub']['runtime_info']['iter'] == 3


@pytest.mark.parametrize('call', [
    (os.mkdir, ('ran', )), (getattr, (torch.Tensor, '__init__')), (eval, ('1', )), (torch.load, ('a', )),
    (torch.hub.load, ('a', 'b')), (np.dtype, ('O', )), (getattr, (np.ndarray, 'mean')),
    (getattr, (HistoryBuffer, 'update')),
], ids=lambda call: call[0].__name__)
def test_other_calls_are_refused(call, tmp_path):
    with pytest.raises(RefusedError, match='GLOBAL'):
        read_archive(written(dict(extra=Reduced(*call)), tmp_path / 'a.pth'))


def rewritten(source: str, target: str, changes: dict[str, bytes | None]) -> str:
    """Copies an archive with some records added, replaced or, if None, left out; returns the path of the copy."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, 'w') as after:
        folder = before.namelist()[0].partition('/')[0]
        records = {name.partition('/')[2]: before.read(name) for name in before.namelist()} | changes
        for name, content in records.items():
            if content is not None:
                after.writestr(name.replace('../', '') if name.startswith('../') else f'{folder}/{name}', content)
    return target


@pytest.mark.parametrize('size', [4, 396, 404])
def test_storages_are_as_long_as_announced(size, tmp_path):
    path = written(dict(x=torch.rand(100)), tmp_path / 'a.pth')
    with raises(pickle.UnpicklingError, 'storage 0', f'{size} bytes', '100 elements', 'need 400'):
        read_archive(rewritten(path, str(tmp_path / 'b.pth'), {'data/0': bytes(size)}))


@pytest.mark.parametrize('records, words', [
    ({'data.pkl': None}, ['torch.save']), ({'../b/data.pkl': b'N.'}, ['torch.save']),
    ({'constants.pkl': b'N.'}, ['torch.save']), ({'byteorder': b'big'}, ['big-endian'])])
def test_other_archives_are_refused(records, words, tmp_path):
    path = written(dict(x=torch.rand(3)), tmp_path / 'a.pth')
    with raises(pickle.UnpicklingError, *words):
        read_archive(rewritten(path, str(tmp_path / 'b.pth'), records))


def test_an_archive_without_byte_order_is_read(tmp_path):
    """PyTorch before 2.1 did not write this record."""
    x = torch.rand(3)
    path = written(x, tmp_path / 'a.pth')
    assert torch.equal(read_archive(rewritten(path, str(tmp_path / 'b.pth'), {'byteorder': None})), x)


def test_big_endian_arrays_are_refused(tmp_path):
    with raises(pickle.UnpicklingError, 'byte order', "'>'"):
        read_archive(written(np.arange(3.).astype('>f8'), tmp_path / 'a.pth'))


@pytest.mark.parametrize('kind, dtype', [
    ('module', torch.FloatStorage), ('tensor', torch.FloatStorage), ('storage', 'torch.float32')])
def test_only_storages_are_outside_the_pickle(kind, dtype, tmp_path):
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return (kind, dtype, '0', 'cpu', 3) if value is Ellipsis else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump([...])
    path = written(torch.rand(3), tmp_path / 'a.pth')
    with raises(pickle.UnpicklingError, 'torch.save'):
        read_archive(rewritten(path, str(tmp_path / 'b.pth'), {'data.pkl': buffer.getvalue()}))


@pytest.mark.parametrize('numbers', [(0, (200, ), (1, )), (90, (20, ), (1, )), (0, (2, ), (200, )), (-1, (2, ), (1, )),
                                     (0, (101, ), (1, )), (100, (1, ), (1, )), (0, (30, 4), (10, 1)),
                                     (0, (2**62, 4), (1, 1)), (0, (2, ), (-1, )), (0, (2, 2), (1, )),
                                     (0, (2, ), (1, 1))], ids=str)
def test_tensors_stay_within_their_storage(numbers, tmp_path):
    storage = torch.rand(100)._typed_storage()
    extra = Reduced(torch._utils._rebuild_tensor_v2, (storage, *numbers, False, OrderedDict()))
    with pytest.raises(pickle.UnpicklingError, match='^a tensor '):
        read_archive(written(dict(extra=extra), tmp_path / 'a.pth'))


def test_an_empty_storage_has_no_elements(tmp_path):
    storage = torch.rand(0)._typed_storage()
    extra = Reduced(torch._utils._rebuild_tensor_v2, (storage, 0, (1, ), (1, ), False, OrderedDict()))
    with raises(pickle.UnpicklingError, 'exceeds its storage'):
        read_archive(written(dict(extra=extra), tmp_path / 'a.pth'))


# Pickle operations that change or call an unpickled tensor; torch.save never writes them.
HARMFUL = {
    'state of a tensor': (b'}b', 'Tensor.__setstate__'),
    'item of a tensor': (b'K\x00K\x07s', 'Tensor.__setitem__'),
    'items of a tensor': (b'(K\x00K\x07u', 'Tensor.__setitem__'),
    'entry of a tensor': (b'K\x00a', 'Tensor.__setitem__'),
    'entries of a tensor': (b'(K\x00e', 'Tensor.__setitem__'),
    'call of a tensor': (b')R', 'tensor('),
    'object of a tensor': (b')\x81', 'tensor('),
    'object with arguments': (b'cargparse\nNamespace\nK\x00\x85\x81', 'Namespace'),
}


@pytest.mark.parametrize('name', HARMFUL)
def test_tensors_are_neither_changed_nor_called(name, tmp_path):
    path = written(torch.rand(3), tmp_path / 'a.pth')
    with zipfile.ZipFile(path) as archive:
        content = archive.read('a/data.pkl')
    assert content.endswith(b'.')
    operations, word = HARMFUL[name]
    with raises(RefusedError, f'GLOBAL {word}'):
        read_archive(rewritten(path, str(tmp_path / 'b.pth'), {'data.pkl': content[:-1] + operations + b'.'}))


@pytest.mark.parametrize('state', [b'}b', b'N}\x86b'])
@pytest.mark.parametrize('cls', ['mmengine.logging.history_buffer\nHistoryBuffer', 'argparse\nNamespace'])
def test_classes_take_no_attributes(cls, state, tmp_path):
    path = written(torch.rand(3), tmp_path / 'a.pth')
    with pytest.raises(RefusedError):
        read_archive(rewritten(path, str(tmp_path / 'b.pth'),
                               {'data.pkl': b'\x80\x02c' + cls.encode() + b'\n' + state + b'.'}))


@pytest.mark.filterwarnings('ignore:`torch.jit.script` is deprecated')
def test_scripts_are_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / 'a.pth')
    with raises(pickle.UnpicklingError, 'torch.save'):
        read_archive(tmp_path / 'a.pth')
