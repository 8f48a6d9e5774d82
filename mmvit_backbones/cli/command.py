"""Runs a subcommand: parses its arguments, starts its processes, and prints user errors on one line."""
import gc
import importlib
import os
import re
import signal
import sys
import time
import traceback

import torch
from mmengine.registry import build_functions
from mmengine.runner import runner

from ..errors import CheckpointError, TrainingError, UsageError, first_line
from ..utils.installation import find_conflicts
from ..utils.text import printable
from . import processes

STEPS = 'build_', 'register_custom', 'register_default', 'setup_'  # prefixes of the runner's methods that read a config


def run(verb: str, module_name: str, arguments: list[str]) -> None:
    """Runs ``main`` of a subcommand's module, in several processes if ``arguments`` contain ``--processes``."""
    module = importlib.import_module(f'{__package__}.{module_name}')
    parser = module.get_parser()
    parser.prog = f'mmvit {verb}'
    args = parser.parse_args(arguments)
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by mmvit.py during the imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        processes.set_ranks(getattr(args, 'launcher', 'none'))
        if module_name != 'doctor' and (conflicts := find_conflicts()):  # `mmvit doctor` reports them
            raise UsageError(conflicts[0])
        if getattr(args, 'processes', None):
            processes.start(verb, arguments, args, module.main)
        else:
            module.main(args)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # torch's signal handler for lost data loader workers can raise anywhere
        raised_on_all_ranks = isinstance(error, (UsageError, CheckpointError))
        is_ours = raised_on_all_ranks or isinstance(error, TrainingError)
        reason = error if is_ours else _lost_process(error) or _not_built(error)
        if reason is None:
            raise
        # Each process prints its own error. An error that all processes raise is printed only by local rank 0.
        if not raised_on_all_ranks or os.environ['LOCAL_RANK'] == '0':
            rank = f'rank {os.environ["RANK"]}: ' if 'RANK' in os.environ and not raised_on_all_ranks else ''
            print(f'error: {rank}{printable(reason)}', file=sys.stderr, flush=True)
        sys.exit(1)
    if torch.distributed.is_initialized():
        # References to the process group would keep gloo's threads alive, which abort at interpreter exit.
        gc.collect()
        torch.distributed.destroy_process_group()


def _not_built(error: Exception) -> str | None:
    """Returns a message if the error was raised while a part of the config was built, else None."""
    frames, parts = list(traceback.walk_tb(error.__traceback__)), []
    for frame, _ in frames:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if file == build_functions.__file__:
            config = frame.f_locals.get('cfg')
            parts.append(config['type'] if isinstance(config, dict) and 'type' in config else config)
        elif file == runner.__file__ and function.startswith(STEPS):
            parts.append(function.partition('_')[2])  # e.g. env or custom_hooks
    if not parts:
        return None
    frame, line = frames[-1]
    return f'config: {parts[-1]!r:.200} cannot be built: {first_line(error)} ({frame.f_code.co_filename}:{line})'


def _lost_process(error: Exception) -> str | None:
    """Returns a message if a lost process caused the error, else None."""
    chain: list[BaseException] = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    text = '\n'.join(map(str, chain))
    if any(isinstance(link, (ConnectionError, EOFError)) for link in chain):
        try:
            time.sleep(5)  # the connection to a lost worker may break before torch's handler is called
        except RuntimeError as lost:  # raised by torch's handler
            text += f'\n{lost}'
    worker = re.search(
        r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed by signal: \w+|exited unexpectedly)', text)
    if worker:
        return (f'data loader worker {worker[1]} {worker[2]}, possibly because memory or shared memory (/dev/shm) is '
                'full; reduce num_workers of the data loader, e.g. train_dataloader.num_workers')
    connection = r'Connection (closed|reset) by peer|Broken pipe|NCCL (communicator was aborted|error)|socketPoll'
    if torch.distributed.is_initialized() and re.search(connection, text):
        return f'lost the connection to another process: {text.splitlines()[0]}'
    return None
