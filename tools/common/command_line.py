"""Arguments, errors and processes that the command lines of the tools share."""
import argparse
import gc
import os
import os.path as osp
import re
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from mmengine.config import Config, DictAction

from mmvit_backbones.errors import CheckpointError, TrainingError, UsageError
from mmvit_backbones.utils.file_configs import dicts_in
from mmvit_backbones.utils.installation import check_distributions


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the common arguments of training and testing."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG NAME)')
    add_config_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--no-accelerate', action='store_true', help='do not accelerate the model')
    parser.add_argument('--check', action='store_true', help='check config, data and checkpoint, then stop')


def output_file(path: str) -> str:
    """Checks an output file's argument: creates its folder, which must be writable."""
    is_new = not osp.exists(path)
    try:
        os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
        open(path, 'ab').close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{path} cannot be written ({error.strerror})') from error
    if is_new:
        os.remove(path)
    return path


def pixel(text: str) -> tuple[int, int]:
    """Parses ``X,Y``."""
    x, y = text.split(',')
    return int(x), int(y)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='change the config, e.g. train_dataloader.num_workers=8; quote lists: KEY="[1,2]"')


def add_pretrained_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--pretrained', nargs='?', const=True, metavar='TAG',
                        help="the authors' weights, downloaded the first time; TAG is e.g. 384, 22k or mask_rcnn_3x")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument('--class-folder', metavar='FOLDER',
                       help='data of your own for a classifier: train/CLASS/ and val/CLASS/ with images')
    group.add_argument('--coco-folder', metavar='FOLDER',
                       help='for a detector: annotations/instances_{train,val}.json, train/ and val/')
    group.add_argument('--seg-folder', metavar='FOLDER',
                       help='for a segmenter: images/{train,val}/, masks/{train,val}/ and classes.txt')
    group.add_argument('--data-root', metavar='FOLDER', help="folder of the config's own data set")
    parser.add_argument('--val-fraction', type=float, metavar='SHARE',
                        help='share of the images that validate, for a folder without val/, e.g. 0.1')
    parser.add_argument('--seed', type=int, help='of this choice (default: 0), and of the run')


def data_options(args: argparse.Namespace) -> dict:
    """Returns the arguments of :func:`add_data_arguments`, for ``use_custom_data``."""
    names = ('class_folder', 'coco_folder', 'seg_folder', 'data_root', 'val_fraction', 'seed')
    return {name: getattr(args, name) for name in names}


def run_script(parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None]) -> None:
    """Parses the command line and runs ``main(args)``; errors of the user are printed in one line."""
    try:
        args = parser.parse_args()
    except ValueError:
        parser.error('--cfg-options takes pairs KEY=VALUE')
    if getattr(args, 'launcher', None) == 'slurm' and 'SLURM_PROCID' in os.environ:
        set_slurm_ranks()
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    try:
        check_distributions()
        main(args)
    except Exception as error:  # the signal of a lost process interrupts whatever runs
        raised_on_all_ranks = isinstance(error, (UsageError, CheckpointError))
        reason = error if raised_on_all_ranks or isinstance(error, TrainingError) else _lost_process(error)
        if reason is None:
            raise
        # One process of several ends the run, and need not wait for the others.
        if not raised_on_all_ranks or os.environ['LOCAL_RANK'] == '0':
            rank = f'rank {os.environ["RANK"]}: ' if 'RANK' in os.environ and not raised_on_all_ranks else ''
            print(f'error: {rank}{reason}', file=sys.stderr, flush=True)
        sys.exit(1)
    if torch.distributed.is_initialized():
        # What still refers to the process group would keep gloo's threads, which abort when the interpreter is gone.
        gc.collect()
        torch.distributed.destroy_process_group()


def _lost_process(error: Exception) -> str | None:
    """Returns the name of a lost process if it caused an error, else None."""
    chain = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    text = '\n'.join(map(str, chain))
    if any(isinstance(link, (ConnectionError, EOFError)) for link in chain):
        try:
            time.sleep(5)  # the connection of a worker may be gone before the signal that it is lost
        except RuntimeError as lost:  # from torch's handler of that signal
            text += f'\n{lost}'
    worker = re.search(
        r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (is killed by signal: \w+|exited unexpectedly)', text)
    if worker:
        return (f'data loader worker {worker[1]} {worker[2]}; the system kills for want of memory, and a shared memory '
                '(/dev/shm) that is full does, too: fewer train_dataloader.num_workers need less')
    connection = r'Connection (closed|reset) by peer|Broken pipe|NCCL (communicator was aborted|error)|socketPoll'
    if torch.distributed.is_initialized() and re.search(connection, text):
        return f'lost the connection to another process: {text.splitlines()[0]}'
    return None


def check_launcher(launcher: str) -> None:
    """Raises UsageError for more processes than GPUs, and for launchers that need missing GPUs."""
    gpus, processes = torch.cuda.device_count(), int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if gpus and processes > gpus:
        raise UsageError(f'{processes} processes need a GPU each; this machine has {gpus}')
    if not gpus and launcher == 'mpi':
        raise UsageError('--launcher mpi needs GPUs; without them, tools/dist_train.sh works')


def init_processes(cfg: Config, launcher: str) -> None:
    """Sets the launcher in the config; without GPUs, connects the processes, which mmengine cannot do."""
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    if 'RANK' not in os.environ:
        started_by = 'tools/slurm_train.sh or srun' if launcher == 'slurm' else 'tools/dist_train.sh or torchrun'
        raise UsageError(f'--launcher {launcher} needs processes started by {started_by}')
    torch.distributed.init_process_group('gloo')
    unused = cfg.get('find_unused_parameters', False)
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=unused)
    cfg.model_wrapper_cfg = dict(cfg.get('model_wrapper_cfg') or wrapper, device_ids=None)
    # Synchronized batch norm has no CPU kernel: each process takes its own statistics.
    for node in dicts_in(cfg.model):
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'


def set_slurm_ranks() -> None:
    """Sets torchrun's variables for rank and address; mmengine sets them only when it connects the processes."""
    os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'],
                      LOCAL_RANK=os.environ['SLURM_LOCALID'])
    hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
                           capture_output=True, text=True, check=True)
    os.environ.setdefault('MASTER_ADDR', hosts.stdout.split()[0])
    # Jobs that share a node need a port each.
    os.environ.setdefault('MASTER_PORT', str(20000 + int(os.environ['SLURM_JOB_ID']) % 10000))
