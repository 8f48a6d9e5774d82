"""Runs a subcommand: starts its processes, and prints user errors on one line."""
import argparse
import gc
import importlib
import os
import sys

import torch

from ..errors import CheckpointError, TrainingError, UsageError
from . import processes


def run(subcommand: str, module_name: str, arguments: list[str], args: argparse.Namespace) -> None:
    """Runs ``main`` of a subcommand's module, in several processes if ``args.processes`` is given."""
    module = importlib.import_module(f'{__package__}.{module_name}')
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    try:
        processes.set_ranks(getattr(args, 'launcher', 'none'))
        if getattr(args, 'processes', None):
            processes.start(subcommand, arguments, args, module.main)
        else:
            module.main(args)
    except (UsageError, CheckpointError, TrainingError) as error:
        # Each process prints its own error. An error that all processes raise is printed only by local rank 0.
        is_raised_by_all = not isinstance(error, TrainingError)
        if not is_raised_by_all or os.environ['LOCAL_RANK'] == '0':
            rank = f'rank {os.environ["RANK"]}: ' if 'RANK' in os.environ and not is_raised_by_all else ''
            print(f'error: {rank}{error}', file=sys.stderr, flush=True)
        sys.exit(1)
    if torch.distributed.is_initialized():
        # References to the process group would keep gloo's threads alive, which abort at interpreter exit.
        gc.collect()
        torch.distributed.destroy_process_group()
