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
        unfinished (str): Why several machines, or a launcher, cannot run a config that each process would write, with
            ``{start}``, the options that start the processes, and their number ``{processes}``. Defaults to '': the
            config is finished.

    Raises:
        UsageError: If the config is not finished, or the processes cannot be started.
    """
    from mmvit_backbones.errors import UsageError

    from ..running.ranks import started_by
    from ..utils.distributed import is_first_process
    if args.launcher != 'none':
        with started_by(args.launcher, args.local_rank) as processes:
            if unfinished:
                raise UsageError(unfinished.format(start=f'--launcher {args.launcher}', processes=processes))
            if not args.check or is_first_process():
                with prepare(processes=processes) as run:
                    print('ok') if args.check else go(run.cfg)
        return
    nodes = number_of_nodes() if args.processes else 1
    if args.processes and not args.check:
        check_start(args.processes)
        if nodes > 1 and unfinished:
            raise UsageError(unfinished.format(start=f'--processes {args.processes}', processes=args.processes))
    with prepare(processes=nodes * (args.processes or 1)) as run:
        if args.check:
            print('ok')
        elif args.processes:
            start(args.command, args.processes, run.arguments)
        else:
            go(run.cfg)


def start(arguments: Sequence[str], processes: int, prepared: Sequence[str] = ()) -> None:
    """Runs `mmvit` with these arguments, without --processes, in several processes, started by torchrun.

    Args:
        arguments (Sequence[str]): The arguments.
        processes (int): Number of processes on this machine.
        prepared (Sequence[str]): Further arguments, which say what was prepared.

    Raises:
        UsageError: If there are too few GPUs, NNODES, NODE_RANK or PORT is invalid, or the port is in use.
        SystemExit: With the exit code of the first process that failed, or 128 plus the number of a signal.
    """
    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.ops.build import number_of_cores

    from ..utils.shell import same_mmvit
    check_start(processes)
    for name in [name for name in os.environ if name == 'LOCAL_RANK' or name.startswith('PET_')]:
        del os.environ[name]  # of another program; torchrun takes its defaults from PET_*, which Kubeflow sets
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, number_of_cores() // processes)))  # they share the cores
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # idle threads sleep instead of spinning
    nodes = number_of_nodes()
    address = os.environ['MASTER_ADDR'] if nodes > 1 else '127.0.0.1'
    if nodes == 1 and 'PORT' not in os.environ:
        # They find each other by a free port; on Windows by a file, because PyTorch lacks what torchrun's port needs.
        place = (['--rdzv_backend', 'c10d', '--rdzv_conf', 'store_type=file'] if sys.platform == 'win32' else
                 ['--standalone'])
        place += ['--local_addr', '127.0.0.1']
    else:
        rank, port = int(os.environ.get('NODE_RANK', 0)), int(os.environ.get('PORT', 29500))
        place = ['--nnodes', str(nodes), '--node_rank', str(rank), '--master_addr', address, '--master_port', str(port)]
    python, *program = [*same_mmvit(), *without(arguments, '--processes'), *prepared, '--launcher', 'pytorch']
    try:
        code = _run_torchrun([*place, '--nproc_per_node', str(processes), '--no_python', python, '-u', *program])
    except RuntimeError as error:  # of the connection; DistNetworkError and DistStoreError in newer versions
        raise UsageError(why_not_connected(error, f'{address}:{os.environ.get("PORT", 29500)}', 'PORT',
                                           'to a free one, on all machines')) from error
    if code:
        sys.exit(code)


def without(arguments: Sequence[str], *options: str) -> list[str]:
    """Returns the arguments of a command without some options and their values."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in options:
        parser.add_argument(option)
    return parser.parse_known_args(arguments)[1]


def check_start(processes: int) -> None:
    """Raises UsageError if so many processes cannot be started here, or the variables of several machines are wrong."""
    from mmvit_backbones.errors import UsageError

    from ..utils.devices import check_number_of_processes
    check_number_of_processes(processes)
    nodes = number_of_nodes()
    if nodes > 1 or 'PORT' in os.environ:
        whole_variable('NODE_RANK', 0, 0, nodes - 1)
    if nodes > 1 and not os.environ.get('MASTER_ADDR'):
        raise UsageError(f'NNODES={nodes} needs the environment variable MASTER_ADDR, the address of the first '
                         'machine, on all machines')
    whole_variable('PORT', 29500, 1, 65535)


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
