"""Safe reader of archives written by ``torch.save``, for PyTorch before 2.10.

With ``torch.load(weights_only=True)``, a malicious file can execute code in PyTorch before 2.6 (CVE-2025-32434), and
corrupt memory in PyTorch before 2.10 (GHSA-63cw-57p8-fm3p). This reader allows only the pickle operations and names
that build tensors, NumPy arrays, plain values, timm's options and MMEngine's log history. It also checks that no tensor
exceeds its storage.
"""
import argparse
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

STORAGES = {
    'torch DoubleStorage': torch.float64, 'torch FloatStorage': torch.float32, 'torch HalfStorage': torch.float16,
    'torch BFloat16Storage': torch.bfloat16, 'torch LongStorage': torch.int64, 'torch IntStorage': torch.int32,
    'torch ShortStorage': torch.int16, 'torch CharStorage': torch.int8, 'torch ByteStorage': torch.uint8,
    'torch BoolStorage': torch.bool, 'torch.storage UntypedStorage': torch.uint8,
}
ARRAYS = ('b1', 'u1', 'i4', 'i8', 'f4', 'f8')  # allowed dtypes of arrays
HISTORY_METHODS = ('min', 'max', 'mean', 'current')
Container = TypeVar('Container', list, dict)
OPERATIONS = """PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE
    SHORT_BINUNICODE BINBYTES SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT
    SETITEM SETITEMS GLOBAL STACK_GLOBAL BINPERSID REDUCE NEWOBJ BUILD BINPUT LONG_BINPUT MEMOIZE BINGET
    LONG_BINGET""".split()


class RefusedError(pickle.UnpicklingError):
    """An archive refers to a name that is not allowed; the message contains ``GLOBAL NAME``, as torch's does."""

    def __init__(self, name: str) -> None:
        super().__init__(f'GLOBAL {name}')


class Storage(NamedTuple):
    """The elements of a tensor's storage."""
    elements: Tensor


def read_archive(path: str, device: str | torch.device = 'cpu') -> object:
    """Returns the object that ``torch.save`` wrote into an archive.

    Raises:
        BadZipFile: If the file is not a zip archive or a checksum is wrong.
        RefusedError: If the pickle refers to a name that is not on the allowlist; the message contains the name.
        UnpicklingError: If the archive was not written by ``torch.save``, or has an invalid tensor or storage.
        Exception: Any other exception if the pickle is damaged or has an operation that ``torch.save`` does not write.
    """
    with zipfile.ZipFile(path) as archive:
        return Reader(archive, device).load()


def rebuild_tensor(storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...],
                   requires_grad: bool, *ignored) -> Tensor:
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise pickle.UnpicklingError('a tensor has an invalid size or stride')
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))
    if prod(size) and last >= storage.elements.numel():
        raise pickle.UnpicklingError('a tensor exceeds its storage')
    return storage.elements.as_strided(size, stride, offset).requires_grad_(requires_grad is True)


def rebuild_parameter(tensor: Tensor, requires_grad: bool, *ignored) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad is True)


def numpy_dtype(name: str, *ignored) -> np.dtype:
    if name not in ARRAYS:
        raise RefusedError(f'numpy.dtype({name!r})')
    return np.dtype(name)


def numpy_scalar(dtype: np.dtype, content: bytes) -> np.generic:
    scalar, = np.frombuffer(content, dtype)
    return scalar


def empty_array(*ignored) -> np.ndarray:
    return np.empty(0)


def history_method(owner: type, name: str) -> Callable:
    """Replaces ``getattr`` in pickles: returns the methods that a pickled HistoryBuffer needs, and no others."""
    if owner is not HistoryBuffer or name not in HISTORY_METHODS:
        raise RefusedError('getattr')
    return getattr(HistoryBuffer, name)


def encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding)


CLASSES = {
    'collections OrderedDict': OrderedDict,
    'argparse Namespace': argparse.Namespace,
    'mmengine.logging.history_buffer HistoryBuffer': HistoryBuffer,
}
CALLS = {
    'torch._utils _rebuild_tensor_v2': rebuild_tensor,
    'torch._utils _rebuild_parameter': rebuild_parameter,
    'torch Size': torch.Size,
    'torch device': torch.device,
    'numpy dtype': numpy_dtype,
    '_codecs encode': encode,
    **{f'{module} getattr': history_method for module in ('builtins', '__builtin__')},
    **{f'numpy.{core}.multiarray _reconstruct': empty_array for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray scalar': numpy_scalar for core in ('core', '_core')},
}
VALUES = {**{str(dtype).replace('.', ' '): dtype for dtype in STORAGES.values()}, 'numpy ndarray': np.ndarray}


class Reader(pickle._Unpickler):
    """The standard library's pure Python unpickler, restricted to the operations and names above."""

    # Attributes of the base class that are missing in its type stub.
    stack: list
    append: Callable[[object], None]
    pop_mark: Callable[[], list]

    dispatch = {ord(code): pickle._Unpickler.dispatch[ord(code)]
                for code in (getattr(pickle, name) for name in OPERATIONS)}

    def __init__(self, archive: zipfile.ZipFile, device: str | torch.device) -> None:
        names = archive.namelist()
        pickles = [name for name in names if name.split('/')[1:] == ['data.pkl']]
        if len(pickles) != 1 or any(name.endswith('/constants.pkl') for name in names):  # a TorchScript archive
            raise pickle.UnpicklingError('the archive was not written by torch.save')
        self.archive, self.folder, self.device = archive, pickles[0].removesuffix('/data.pkl'), device
        if f'{self.folder}/byteorder' in names and self.record('byteorder') != b'little':
            raise pickle.UnpicklingError('the archive was written on a big-endian machine')
        self.storages: dict[tuple[str, torch.dtype], Storage] = {}
        super().__init__(io.BytesIO(self.record('data.pkl')))

    def record(self, name: str) -> bytes:
        return self.archive.read(f'{self.folder}/{name}')  # also verifies the checksum

    def find_class(self, module: str, name: str) -> object:
        key = f'{module} {name}'
        for known in (CLASSES, CALLS, STORAGES, VALUES):
            if key in known:
                return known[key]
        raise RefusedError(f'{module}.{name}')

    def persistent_load(self, pid: tuple) -> Storage:
        kind, dtype, key, _, num_elements = pid
        if kind != 'storage' or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError('the archive was not written by torch.save')
        if (key, dtype) not in self.storages:
            content = self.record(f'data/{key}')
            if len(content) != num_elements * dtype.itemsize:
                raise pickle.UnpicklingError(f'storage {key} has {len(content)} bytes, but its {num_elements} elements '
                                             f'need {num_elements * dtype.itemsize}')
            elements = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
            self.storages[key, dtype] = Storage(elements.to(self.device))
        return self.storages[key, dtype]

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not any(function is known for known in (*CLASSES.values(), *CALLS.values())):
            raise RefusedError(getattr(function, '__name__', repr(function)))
        self.append(function(*arguments))

    def load_newobj(self) -> None:
        arguments, cls = self.stack.pop(), self.stack.pop()
        if not any(cls is known for known in CLASSES.values()) or arguments:
            raise RefusedError(getattr(cls, '__name__', repr(cls)))
        self.append(cls.__new__(cls))

    def load_build(self) -> None:
        state, instance = self.stack.pop(), self.stack[-1]
        if type(instance) in CLASSES.values():
            instance.__dict__.update(state)
        elif isinstance(instance, np.dtype):
            if state[1] not in ('<', '|'):
                raise pickle.UnpicklingError(f'an array has the unsupported byte order {state[1]!r}')
        elif isinstance(instance, np.ndarray):
            _, shape, dtype, is_fortran, content = state
            array = np.frombuffer(content, dtype).reshape(shape, order='F' if is_fortran else 'C')
            state = 1, array.shape, array.dtype, is_fortran is True, array.tobytes('A')
            instance.__setstate__(state)  # pyright: ignore[reportArgumentType]  # the stub expects np.bool
        else:
            raise RefusedError(f'{type(instance).__name__}.__setstate__')

    def load_append(self) -> None:
        value = self.stack.pop()
        self.last_of(list).append(value)

    def load_appends(self) -> None:
        values = self.pop_mark()
        self.last_of(list).extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.last_of(dict)[key] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self.last_of(dict).update(zip(items[::2], items[1::2]))

    def last_of(self, cls: type[Container]) -> Container:
        if not isinstance(self.stack[-1], cls):
            raise RefusedError(f'{type(self.stack[-1]).__name__}.__setitem__')
        return self.stack[-1]


for _name in ('reduce', 'newobj', 'build', 'append', 'appends', 'setitem', 'setitems'):
    Reader.dispatch[ord(getattr(pickle, _name.upper()))] = getattr(Reader, f'load_{_name}')
