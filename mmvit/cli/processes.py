"""Starts the processes of a run with torchrun, and connects them."""
import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


def start(arguments: Sequence[str], processes: int) -> None:
    """Runs `mmvit` with these arguments in several processes, started by torchrun.

    Raises:
        SystemExit: With the exit code of the first process that failed, or 128 plus the number of a signal.
    """
    os.environ.pop('LOCAL_RANK', None)
    threads = max(1, len(os.sched_getaffinity(0)) // processes)  # the processes share the cores
    os.environ.setdefault('OMP_NUM_THREADS', str(threads))
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # idle threads sleep instead of spinning
    code = _run_torchrun([
        '--nnodes', os.environ.get('NNODES', '1'), '--node_rank', os.environ.get('NODE_RANK', '0'),
        '--master_addr', os.environ.get('MASTER_ADDR', '127.0.0.1'), '--master_port', os.environ.get('PORT', '29500'),
        '--nproc_per_node', str(processes), '-m', 'mmvit', *arguments, '--launcher', 'pytorch'])
    if code:
        sys.exit(code)


def without(arguments: Sequence[str], add_arguments: Callable[[argparse.ArgumentParser], object]) -> list[str]:
    """Returns the arguments without those that ``add_arguments`` adds to a parser."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    return parser.parse_known_args(arguments)[1]


@contextmanager
def connected(args: argparse.Namespace) -> Iterator[None]:
    """Sets the ranks of a process that a launcher has started, and disconnects it at the end."""
    import torch

    from ..running.processes import check_number_of_processes, set_ranks
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    set_ranks(args.launcher)
    check_number_of_processes(args.processes or int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count())
    yield
    if torch.distributed.is_initialized():
        # References to the process group would keep gloo's threads alive, which abort at interpreter exit.
        gc.collect()
        torch.distributed.destroy_process_group()


def _run_torchrun(arguments: list[str]) -> int:
    """Runs torchrun, reports the first process that failed, and returns the exit code."""
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
        if code not in (130, 143):  # interrupted by SIGINT or SIGTERM
            print(f'error: rank {rank} (process {failure.pid}) {outcome}', file=sys.stderr)
        return 128 - code if code < 0 else code
    return 0
