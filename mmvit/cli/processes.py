"""Starts the processes of a run with torchrun, and lets those that a launcher has started agree before the run."""
import argparse
import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

T = TypeVar('T')
CHECKED = 'MMVIT_DATA_CHECKED'  # environment variable of processes whose data were checked before they started


def start(arguments: Sequence[str], processes: int) -> None:
    """Runs `mmvit` with these arguments, without --processes, in several processes, started by torchrun.

    On one machine, this process has checked the data, and the others need not.

    Raises:
        UsageError: If NNODES, NODE_RANK or PORT is invalid, or the port is in use.
        SystemExit: With the exit code of the first process that failed, or 128 plus the number of a signal.
    """
    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.ops.build import number_of_cores

    from ..utils.shell import same_mmvit
    os.environ.pop('LOCAL_RANK', None)
    threads = max(1, number_of_cores() // processes)  # the processes share the cores
    os.environ.setdefault('OMP_NUM_THREADS', str(threads))
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # idle threads sleep instead of spinning
    nodes, address = number_of_nodes(), os.environ.get('MASTER_ADDR', '127.0.0.1')
    if nodes == 1 and 'PORT' not in os.environ:
        # They find each other by a free port; on Windows by a file, because PyTorch lacks what torchrun's port needs.
        place = (['--rdzv_backend', 'c10d', '--rdzv_conf', 'store_type=file'] if sys.platform == 'win32' else
                 ['--standalone'])
        place += ['--local_addr', '127.0.0.1']
    else:
        rank, port = whole_variable('NODE_RANK', 0, 0, nodes - 1), whole_variable('PORT', 29500, 1, 65535)
        place = ['--nnodes', str(nodes), '--node_rank', str(rank), '--master_addr', address, '--master_port', str(port)]
    python, *program = same_mmvit()
    program += [*without(arguments, lambda parser: parser.add_argument('--processes')), '--launcher', 'pytorch']
    if nodes == 1:
        os.environ[CHECKED] = '1'
    try:
        code = _run_torchrun([*place, '--nproc_per_node', str(processes), '--no_python', python, '-u', *program])
    except RuntimeError as error:  # of the connection; DistNetworkError and DistStoreError in newer versions
        raise UsageError(why_not_connected(error, f'{address}:{os.environ.get("PORT", 29500)}', 'PORT',
                                           'to a free one, on all machines')) from error
    finally:
        os.environ.pop(CHECKED, None)
    if code:
        sys.exit(code)


def why_not_connected(error: Exception, where: str, variable: str, remedy: str) -> str:
    """Returns a line about processes that an address does not connect; an environment variable sets its port."""
    from mmvit_backbones.errors import first_line
    if 'EADDRINUSE' in str(error):
        return (f'the port of {where} is in use, perhaps by another run; set the environment variable {variable} '
                f'{remedy}')
    return f'the processes cannot be connected by {where}, which MASTER_ADDR and {variable} set: {first_line(error)}'


def number_of_nodes() -> int:
    """Returns the number of machines on which --processes starts processes."""
    return whole_variable('NNODES', 1, 1, 10**6)


def whole_variable(name: str, default: int, low: int, high: int) -> int:
    """Returns an integer from an environment variable; raises UsageError if it is not from ``low`` to ``high``."""
    from mmvit_backbones.errors import UsageError
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise UsageError(f'the environment variable {name} must be an integer from {low} to {high}, got {text!r}')
    return int(text)


def without(arguments: Sequence[str], add_arguments: Callable[[argparse.ArgumentParser], object]) -> list[str]:
    """Returns the arguments without those that ``add_arguments`` adds to a parser."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    return parser.parse_known_args(arguments)[1]


class Processes:
    """The processes of a run.

    Args:
        number (int): Their number on all machines.
        rank (int): The rank of this process. Defaults to 0.
        store (torch.distributed.Store | None): What they tell each other. Defaults to None: this is the only process,
            or the one that will start them.
    """

    def __init__(self, number: int, rank: int = 0, store: Any = None) -> None:
        self.number, self.rank, self.store = number, rank, store
        self.calls = 0

    def of_first(self, function: Callable[[], T]) -> T:
        """Returns, in all processes, what a function returns in the first one, whose error ends all."""
        if self.store is None:
            return function()
        key = self._next_key()
        if self.rank:
            if not (content := self._read(key)):
                _end()
            return pickle.loads(content)
        try:
            value = function()
        except BaseException:
            self.store.set(key, b'')
            raise
        self.store.set(key, pickle.dumps(value))
        return value

    def all_succeed(self, function: Callable[[], T]) -> T:
        """Returns what a function returns in this process; an error in one ends all, and is printed once.

        Raises:
            SystemExit: If the function fails in a process, with the message in the first of these.
        """
        if self.store is None:
            return function()
        key, value, caught = self._next_key(), None, None
        try:
            value = function()
        except BaseException as error:
            caught = error
        self.store.set(f'{key}/{self.rank}', b'failed' if caught else b'done')
        failed = [rank for rank in range(self.number) if self._read(f'{key}/{rank}') == b'failed']
        self.store.set(f'{key}/{self.rank}/knows', b'')
        if self.rank == 0:  # which may hold the store
            for rank in range(self.number):
                self._read(f'{key}/{rank}/knows')
        if not failed:
            return value  # pyright: ignore[reportReturnType]  # nothing was caught
        if caught is None or failed[0] != self.rank:
            _end()
        from mmvit_backbones.errors import MMViTError
        if isinstance(caught, MMViTError):
            sys.exit(f'error: {caught}')
        raise caught

    def _next_key(self) -> str:
        self.calls += 1
        return str(self.calls)

    def _read(self, key: str) -> bytes:
        """Waits for a value, however long the first process checks data."""
        try:
            while not self.store.check([key]):
                time.sleep(0.02)
            return self.store.get(key)
        except RuntimeError:  # the process that holds the store has ended
            _end()


def _end() -> NoReturn:
    """Ends this process, because another one has failed and says why, which other machines do not show."""
    if os.environ.get('LOCAL_RANK') == '0':
        print('stopped: another process failed, and says why', file=sys.stderr, flush=True)
    sys.exit(1)


@contextmanager
def connected(args: argparse.Namespace) -> Iterator[Processes]:
    """Yields the processes of a run: those that a launcher has started, or that --processes will start.

    Disconnects them at the end.

    Raises:
        UsageError: If a launcher has not started this process, or the processes cannot be connected.
    """
    import torch

    from ..running.ranks import check_launcher, check_number_of_processes, set_ranks
    from ..utils.devices import number_of_accelerators
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    set_ranks(args.launcher)
    check_number_of_processes(args.processes or int(os.environ.get('LOCAL_WORLD_SIZE', 1)), number_of_accelerators())
    if args.launcher == 'none':
        yield Processes(args.processes or 1)
    else:
        check_launcher(args.launcher)
        yield _started()
    if torch.distributed.is_initialized():
        # References to the process group would keep gloo's threads alive, which abort at interpreter exit.
        gc.collect()
        torch.distributed.destroy_process_group()


def _started() -> Processes:
    """Returns the processes that a launcher has started, with the store by which PyTorch will connect them."""
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]  # documented there
    from torch.distributed.rendezvous import rendezvous

    from mmvit_backbones.errors import UsageError
    try:
        store, rank, number = next(rendezvous('env://'))
    except (RuntimeError, ValueError) as error:
        where = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
        raise UsageError(why_not_connected(error, where, 'MASTER_PORT', 'to a free one')) from error
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    return Processes(number, rank, PrefixStore(f'mmvit/{attempt}', store))


def _run_torchrun(arguments: list[str]) -> int:
    """Runs torchrun, reports the first process that failed without a message, and returns the exit code."""
    from torch.distributed import run as torchrun
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    try:
        torchrun.main(arguments)
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        outcome = f'failed with exit code {code}'
        if code < 0:
            name = signal.Signals(-code).name
            hint = ', possibly because the machine ran out of memory' if name == 'SIGKILL' else ''
            outcome = f'was killed by {name}{hint}; the other processes were stopped'
        if code not in (1, 130, 143):  # it has said why, or was interrupted by SIGINT or SIGTERM
            print(f'error: rank {rank} (process {failure.pid}) {outcome}', file=sys.stderr)
        return 128 - code if code < 0 else code
    return 0
