"""Runs something in processes that torchrun or another launcher starts, the first of which checks it for all."""
import argparse
import gc
import logging
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar('T')
U = TypeVar('U')


def run_together(args: argparse.Namespace, prepare: Callable[[int], T], finish: Callable[[T], U],
                 run: Callable[[U], object]) -> None:
    """Runs a training or a test in one or several processes, or checks it with --check.

    Args:
        args (Namespace): Options of :func:`.add_run_arguments`.
        prepare (Callable): Takes the number of processes, checks what the run will use, and returns what all processes
            need. Only the first process calls it.
        finish (Callable): Takes this, and returns the finished config; each process calls it.
        run (Callable): Takes the config.
    """
    if args.processes and not args.check:
        start(args.command, args.processes)
        return
    with connected(args) as processes:
        finished = processes.agree(prepare, finish)
        if not args.check:
            run(finished)
        elif processes.rank == 0:
            print('ok')


def start(arguments: Sequence[str], processes: int) -> None:
    """Runs `mmvit` with these arguments, without --processes, in several processes, started by torchrun.

    Raises:
        UsageError: If there are too few GPUs, NNODES, NODE_RANK or PORT is invalid, or the port is in use.
        SystemExit: With the exit code of the first process that failed, or 128 plus the number of a signal.
    """
    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.ops.build import number_of_cores

    from ..utils.devices import check_number_of_processes
    from ..utils.shell import same_mmvit
    check_number_of_processes(processes)
    os.environ.pop('LOCAL_RANK', None)
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, number_of_cores() // processes)))  # they share the cores
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
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--processes')
    python, *program = [*same_mmvit(), *parser.parse_known_args(arguments)[1], '--launcher', 'pytorch']
    try:
        code = _run_torchrun([*place, '--nproc_per_node', str(processes), '--no_python', python, '-u', *program])
    except RuntimeError as error:  # of the connection; DistNetworkError and DistStoreError in newer versions
        raise UsageError(why_not_connected(error, f'{address}:{os.environ.get("PORT", 29500)}', 'PORT',
                                           'to a free one, on all machines')) from error
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


class Processes:
    """The processes of a run.

    Args:
        number (int): Their number on all machines.
        rank (int): The rank of this process. Defaults to 0.
        store (torch.distributed.Store | None): What they tell each other. Defaults to None: this is the only process.
    """

    def __init__(self, number: int, rank: int = 0, store: Any = None) -> None:
        self.number, self.rank, self.store = number, rank, store

    def agree(self, prepare: Callable[[int], T], finish: Callable[[T], U]) -> U:
        """Returns what ``finish`` returns for what ``prepare`` has returned in the first process.

        An exception in one process ends all. The others wait, however long the first one checks data.
        """
        if self.store is None:
            return finish(prepare(self.number))
        try:
            if self.rank == 0:
                self.store.set('prepared', pickle.dumps(prepare(self.number)))
            finished = finish(pickle.loads(self._read('prepared')))
        except BaseException:
            self.store.set('failed', b'')
            raise
        for step in 'finished', 'agreed':
            self.store.set(f'{step}/{self.rank}', b'')
            for rank in range(self.number if step == 'finished' or self.rank == 0 else 0):  # which may hold the store
                self._read(f'{step}/{rank}')
        return finished

    def _read(self, key: str) -> bytes:
        """Waits for a value; ends this process, if another one has failed and says why, maybe on another machine."""
        try:
            while not self.store.check(['failed']):
                if self.store.check([key]):
                    return self.store.get(key)
                time.sleep(0.02)
        except RuntimeError:  # the process that holds the store has ended
            pass
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

    from ..running.ranks import check_launcher, set_ranks
    from ..utils.devices import check_number_of_processes, use_own_gpu
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    set_ranks(args.launcher)
    check_number_of_processes(args.processes or int(os.environ.get('LOCAL_WORLD_SIZE', 1)))
    if args.launcher == 'none':
        yield Processes(args.processes * number_of_nodes() if args.processes else 1)
    else:
        check_launcher(args.launcher)
        use_own_gpu()
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
    for name in [name for name in logging.root.manager.loggerDict if name.startswith('torch.distributed.')]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the process that fails says why
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
