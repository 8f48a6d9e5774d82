"""Limits of time and memory for untrusted models."""
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ..errors import UsageError, first_line
from ..utils import versions

TIMEOUT = 60.  # seconds for a prediction
MAX_MEMORY = 8 * 2**30  # bytes of CPU memory that all sessions of ONNX Runtime together may use for tensors
_ends: dict[int, float] = {}  # thread -> deadline of its prediction


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Sets the deadline after which :func:`check_time` raises UsageError in this thread."""
    thread = threading.get_ident()
    _ends[thread] = time.monotonic() + seconds
    try:
        yield
    finally:
        del _ends[thread]


def check_time(*_) -> None:
    """Raises UsageError if this thread's prediction is past its deadline; can be a hook of a module."""
    if versions.is_compiling():
        return
    if time.monotonic() > _ends.get(threading.get_ident(), float('inf')):
        raise UsageError('no prediction within the time limit')


def check_graph(path: Path) -> None:
    """Raises UsageError for an ONNX file with loops or branches, which ``mmvit export`` does not write."""
    try:
        import onnx
    except ImportError as error:
        raise UsageError("onnx is not installed: pip install 'mmvit_backbones[export]'") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # exceptions of protobuf
        raise UsageError(f'{path} is not a valid ONNX file: {first_line(error)}') from error
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        has_graph = any(attribute.HasField('g') or attribute.graphs for attribute in node.attribute)
        if has_graph or (node.domain, node.op_type) in functions:
            raise UsageError(f'{path} has the operator {node.op_type}, which contains a subgraph; files of mmvit '
                             'export have none')


def limit_memory(options) -> None:
    """Makes a session of ONNX Runtime allocate from an arena of ``MAX_MEMORY`` that all such sessions share."""
    _register_arena(MAX_MEMORY)
    options.add_session_config_entry('session.use_env_allocators', '1')


@cache
def _register_arena(size: int) -> None:
    import onnxruntime
    arena = onnxruntime.OrtMemoryInfo('Cpu', onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0,
                                      onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(arena, onnxruntime.OrtArenaCfg(size, -1, -1, -1))
