"""Time and memory limits for untrusted models."""
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ..errors import UsageError, first_line
from ..utils import versions

TIMEOUT = 60.  # seconds per image
MAX_MEMORY = 8 * 2**30  # bytes of CPU memory for the tensors of all limited ONNX Runtime sessions together
_deadlines: dict[int, float] = {}  # thread ID -> deadline of its prediction


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Sets the deadline after which :func:`check_time` raises UsageError in this thread."""
    thread = threading.get_ident()
    _deadlines[thread] = time.monotonic() + seconds
    try:
        yield
    finally:
        del _deadlines[thread]


def check_time(*_) -> None:
    """Raises UsageError if this thread's prediction is past its deadline; usable as a module hook."""
    if versions.is_compiling():
        return
    if time.monotonic() > _deadlines.get(threading.get_ident(), float('inf')):
        raise UsageError('no prediction within the time limit')


def check_graph(path: Path) -> None:
    """Raises UsageError if an ONNX file is invalid or has loops, branches or function calls, or if onnx is missing.

    ``mmvit export`` never writes loops, branches or function calls.
    """
    try:
        import onnx
    except ImportError as error:
        raise UsageError("onnx is not installed: pip install 'mmvit_backbones[export]'") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises its own exceptions
        raise UsageError(f'{path} is not a valid ONNX file: {first_line(error)}') from error
    functions = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        has_graph = any(attribute.HasField('g') or attribute.graphs for attribute in node.attribute)
        if has_graph or (node.domain, node.op_type) in functions:
            raise UsageError(f'{path} has the operator {node.op_type}, which contains a subgraph; files written '
                             'by mmvit export have no subgraphs')


def limit_memory(options) -> None:
    """Makes ONNX Runtime sessions with these options share an arena of at most ``MAX_MEMORY`` bytes of CPU memory."""
    _register_arena(MAX_MEMORY)
    options.add_session_config_entry('session.use_env_allocators', '1')


@cache
def _register_arena(size: int) -> None:
    import onnxruntime
    arena = onnxruntime.OrtMemoryInfo('Cpu', onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0,
                                      onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(arena, onnxruntime.OrtArenaCfg(size, -1, -1, -1))
