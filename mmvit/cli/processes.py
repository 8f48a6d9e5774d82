"""Prepares a run, and starts its processes with torchrun."""
import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any


def launch(args: argparse.Namespace, prepare: Callable[..., AbstractContextManager], go: Callable[[Any], None],
           unfinished: str = '') -> None:
    """Prepares a run once, and runs it as the options say: here, in several processes, or in those of a launcher.

    Args:
        args (Namespace): Options of :func:`.add_run_arguments`.
        prepare (Callable): Takes the number of ``processes``, and returns the context of a :class:`.prepare.Prepared`.
        go (Callable): Runs a finished config.
        unfinished (str): Why a launcher cannot run a config that each process would write, with ``{start}``, the option
            that names it, and the number of ``{processes}``. Defaults to '': the config is finished.

    Raises:
        UsageError: If the config is not finished, or the processes cannot be started.
    """
    from mmvit_backbones.errors import UsageError

    from ..running.ranks import started_by
    from ..utils.devices import check_number_of_processes
    from ..utils.distributed import is_first_process
    if args.launcher != 'none':
        with started_by(args.launcher, args.local_rank) as processes:
            if unfinished:
                raise UsageError(unfinished.format(start=f'--launcher {args.launcher}', processes=processes))
            if not args.check or is_first_process():
                with prepare(processes=processes) as run:
                    print('ok') if args.check else go(run.cfg)
        return
    if args.processes and not args.check:
        check_number_of_processes(args.processes)
    with prepare(processes=args.processes or 1) as run:
        if args.check:
            print('ok')
        elif args.processes:
            start(args.command, args.processes, run.arguments)
        else:
            go(run.cfg)


def start(arguments: Sequence[str], processes: int, prepared: Sequence[str] = ()) -> None:
    """Runs `mmvit` with these arguments, without --processes, in several processes here, started by torchrun.

    Args:
        arguments (Sequence[str]): The arguments.
        processes (int): Number of processes.
        prepared (Sequence[str]): Further arguments, which say what was prepared.

    Raises:
        UsageError: If there are too few GPUs, or the processes cannot be connected.
        SystemExit: With the exit code of the first process that failed, or 128 plus the number of a signal.
    """
    from mmvit_backbones.errors import UsageError, first_line
    from mmvit_backbones.ops.build import number_of_cores

    from ..utils.devices import check_number_of_processes
    from ..utils.shell import same_mmvit
    check_number_of_processes(processes)
    for name in [name for name in os.environ if name == 'LOCAL_RANK' or name.startswith('PET_')]:
        del os.environ[name]  # of another program; torchrun takes its defaults from PET_*, which Kubeflow sets
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, number_of_cores() // processes)))  # they share the cores
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # idle threads sleep instead of spinning
    # They find each other by a free port; on Windows by a file, because PyTorch lacks what torchrun's port needs.
    place = (['--rdzv_backend', 'c10d', '--rdzv_conf', 'store_type=file'] if sys.platform == 'win32' else
             ['--standalone'])
    python, *program = [*same_mmvit(), *without(arguments, '--processes'), *prepared, '--launcher', 'pytorch']
    try:
        code = _run_torchrun([*place, '--local_addr', '127.0.0.1', '--nproc_per_node', str(processes), '--no_python',
                              python, '-u', *program])
    except RuntimeError as error:  # of the connection; DistNetworkError and DistStoreError in newer versions
        raise UsageError(f'the processes cannot be connected on this machine: {first_line(error)}') from error
    if code:
        sys.exit(code)


def without(arguments: Sequence[str], *options: str) -> list[str]:
    """Returns the arguments of a command without some options and their values."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in options:
        parser.add_argument(option)
    return parser.parse_known_args(arguments)[1]


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
