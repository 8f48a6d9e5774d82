"""Prepares a run, and starts its processes with PyTorch's launcher."""
import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import in_console, names_errors, streams

if TYPE_CHECKING:
    from mmengine.config import Config

LAUNCHERS = 'torch.distributed.', 'torch.multiprocessing.'  # loggers of PyTorch


def launch(args: argparse.Namespace, prepare: Callable[..., AbstractContextManager], go: partial[None]) -> None:
    """Prepares a run once, and runs it as the options say: here, in several processes, or in those of a launcher.

    Args:
        args (Namespace): Options of :func:`.add_run_arguments`.
        prepare (Callable): Takes the number of ``processes``, and returns the context of a finished config.
        go (partial): Runs a finished config; of a function in the module of the subcommand.

    Raises:
        UsageError: If the processes cannot be started.
    """
    from ..running.ranks import started_by
    from ..utils.devices import check_number_of_processes
    from ..utils.distributed import is_first_process
    if args.processes and not args.check:
        check_number_of_processes(args.processes)
    is_launched = args.launcher != 'none'
    started = started_by(args.launcher, args.local_rank) if is_launched else nullcontext(args.processes or 1)
    with started as processes:
        if args.check and not is_first_process():
            return
        with prepare(processes=processes) as cfg:
            if args.check:
                print('ok')
            elif args.processes:
                start(go, cfg, args.processes)
            else:
                go(cfg)


def start(go: partial[None], cfg: 'Config', processes: int) -> None:
    """Runs a finished config in several processes here.

    Raises:
        SystemExit: With the exit code of the first process that failed, or 128 plus the number of a signal.
    """
    from mmvit_backbones.ops.build import number_of_cores
    os.environ.pop('LOCAL_RANK', None)  # of another program
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, number_of_cores() // processes)))  # they share the cores
    os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')  # idle threads sleep instead of spinning
    os.environ['PYTHONUNBUFFERED'] = '1'  # of the processes
    if code := start_here(processes, run_one, go, cfg):
        sys.exit(code)


def run_one(go: partial[None], cfg: 'Config') -> None:
    """Runs a finished config in one of several processes, which are started with this function."""
    def run() -> None:
        from mmengine.utils import import_modules_from_strings

        from ..running.ranks import started_by
        streams.outlive_readers()
        with names_errors(import_module(go.func.__module__).get_parser()), started_by('pytorch'):
            import_modules_from_strings(**(cfg.get('custom_imports') or {}))  # as MMEngine does when it reads a config
            cfg.launcher = 'pytorch'
            go(cfg)

    if hasattr(os, 'setsid'):
        os.setsid()  # so that Ctrl-C in a terminal comes once, from the launcher
    try:
        in_console(run)
    except Exception:  # which the launcher would keep to itself
        traceback.print_exc()
        sys.exit(1)


def start_here(processes: int, function: Callable, *arguments: object) -> int:
    """Calls a function in several processes; reports the first that failed without a message, returns the exit code.

    Raises:
        UsageError: If the processes cannot be connected.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from mmvit_backbones.errors import UsageError, first_line
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(LAUNCHERS)]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the process that fails says why
    # They find each other by a free port; on Windows by a file, because PyTorch lacks what the launcher's port needs.
    place: dict[str, Any] = (dict(rdzv_configs=dict(store_type='file')) if sys.platform == 'win32' else
                             dict(rdzv_endpoint='localhost:0'))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=str(os.getpid()), rdzv_backend='c10d', **place,
        max_restarts=0, monitor_interval=0.1, local_addr='127.0.0.1')
    try:
        elastic_launch(config, function)(*arguments)
    except RuntimeError as error:  # of the connection; DistNetworkError and DistStoreError in newer versions
        raise UsageError(f'the processes cannot be connected on this machine: {first_line(error)}') from error
    except SignalException as error:
        return 128 + error.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        if code not in (1, 130, 143):  # it has said why, or was interrupted by SIGINT or SIGTERM
            outcome = failure.message if code < 0 else f'process {failure.pid} failed with exit code {code}'
            print(f'error: rank {rank}: {outcome}', file=sys.stderr)
        return 128 - code if code < 0 else code
    return 0
