"""Command line, processes and checkpoints of the training and test scripts."""
import argparse
import gc
import os
import os.path as osp
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import MODELS

from ..backbones import Backbone
from ..errors import CheckpointError, TrainingError, UsageError
from ..utils.config import dicts_in
from ..utils.installation import check_distributions
from ..zoo.loading import OFFICIAL, load_backbone, read_checkpoint
from ..zoo.variants import VARIANTS, find_variant


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the common arguments of training and testing."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG NAME)')
    add_config_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='what started the processes')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--no-accelerate', action='store_true', help='leave the modules of the model as they are')
    parser.add_argument('--check', action='store_true', help='check config, data and checkpoint, then stop')


def output_file(path: str) -> str:
    """Argument type of an output file: creates its folder and checks that it is writable."""
    is_new = not osp.exists(path)
    try:
        os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
        open(path, 'ab').close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{path} cannot be written ({error.strerror})') from error
    if is_new:
        os.remove(path)
    return path


def add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='change the config, e.g. train_cfg.max_epochs=12; quote lists: KEY="[1,2]"')


def add_pretrained_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--pretrained', nargs='?', const=True, metavar='TAG',
                        help="the authors' weights, downloaded the first time; TAG is e.g. 384, 22k or mask_rcnn_3x")


def choose_checkpoint(cfg: Config, checkpoint: str | None, tag: str | bool | None) -> str:
    """Returns the checkpoint of the command line: a file or address, or with --pretrained the authors' weights."""
    if bool(checkpoint) == bool(tag):
        raise UsageError('give either a checkpoint or --pretrained')
    if checkpoint:
        return checkpoint
    backbone = cfg.model.get('backbone') or {}
    variants = [variant for variant in VARIANTS.values()
                if all(backbone.get(key) == variant.backbone[key] for key in ('type', 'arch'))]
    if not variants:
        raise UsageError(f'--pretrained: the backbone of {cfg.filename} is none of mmvit_backbones.list_models()')
    # Sizes that differ in their windows share their weights in part: those of the config's name go first.
    name = f'{osp.splitext(osp.basename(cfg.filename))[0]}_'
    best = max(variants, key=lambda variant: (
        variant.has_weights(tag), len(variant.short_name) * (f'_{variant.short_name}_' in name)))
    return official_name(best.name, tag)


def official_name(network: str, tag: str | bool) -> str:
    """Returns the ``official://`` name of a network's weights."""
    find_variant(network).find_weights(tag)
    return f'{OFFICIAL}{network}' + ('' if tag is True else f'/{tag}')


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
        is_seen_by_all = isinstance(error, (UsageError, CheckpointError))
        reason = error if is_seen_by_all or isinstance(error, TrainingError) else _lost_process(error)
        if reason is None:
            raise
        # One process of several ends the run, and need not wait for the others.
        if not is_seen_by_all or os.environ['LOCAL_RANK'] == '0':
            rank = f'rank {os.environ["RANK"]}: ' if 'RANK' in os.environ and not is_seen_by_all else ''
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
        raise UsageError(f'{processes} processes were asked for; this machine has GPUs for {gpus}')
    if not gpus and launcher == 'mpi':
        raise UsageError('--launcher mpi needs GPUs; without them, tools/dist_train.sh works')


def set_slurm_ranks() -> None:
    """Sets torchrun's variables for rank and address; mmengine sets them only when it connects the processes."""
    os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'],
                      LOCAL_RANK=os.environ['SLURM_LOCALID'])
    hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
                           capture_output=True, text=True, check=True)
    os.environ.setdefault('MASTER_ADDR', hosts.stdout.split()[0])
    # Jobs that share a node need a port each.
    os.environ.setdefault('MASTER_PORT', str(20000 + int(os.environ['SLURM_JOB_ID']) % 10000))


def init_processes(cfg: Config, launcher: str) -> None:
    """Sets the launcher in the config; without GPUs, connects the processes, which mmengine cannot do."""
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    if 'RANK' not in os.environ:
        started_by = 'tools/slurm_train.sh and srun' if launcher == 'slurm' else 'tools/dist_train.sh and torchrun'
        raise UsageError(f'--launcher {launcher} is for the processes that {started_by} start')
    torch.distributed.init_process_group('gloo')
    unused = cfg.get('find_unused_parameters', False)
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=unused)
    cfg.model_wrapper_cfg = dict(cfg.get('model_wrapper_cfg') or wrapper, device_ids=None)
    # Synchronized batch norm has no CPU kernel: each process takes its own statistics.
    for node in dicts_in(cfg.model):
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'


def use_sharding(cfg: Config) -> None:
    """Shards weights and optimizer states over the processes (:class:`ShardedStrategy`)."""
    if cfg.launcher == 'none':
        raise UsageError('--strategy fsdp needs processes to share with: tools/dist_train.sh and slurm_train.sh '
                         'start them')
    if any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or ()):
        raise UsageError('--strategy fsdp cannot average weights; --cfg-options custom_hooks=[] leaves out EMAHook')
    cfg.strategy = dict(type='ShardedStrategy')


def check_backbone(cfg: Config) -> Backbone | None:
    """Builds a backbone of this package on the meta device and returns it; raises UsageError for bad arguments."""
    arguments = dict(cfg.model.get('backbone') or {})
    backbone_type = MODELS.module_dict.get(arguments.pop('type', None))
    if not (backbone_type and issubclass(backbone_type, Backbone)):
        return None  # one of the framework
    try:
        with torch.device('meta'):
            backbone = backbone_type(**{**arguments, 'init_cfg': None})
    except (TypeError, ValueError) as error:
        raise UsageError(f'model.backbone: {error}') from error
    preprocessor = {**(cfg.get('data_preprocessor') or {}), **(cfg.model.get('data_preprocessor') or {})}
    channels = len(preprocessor.get('mean') or ())
    if channels not in (0, 1, backbone.in_channels):
        raise UsageError(f'model.backbone.in_channels is {backbone.in_channels}, but data_preprocessor.mean is that of '
                         f'images with {channels} channels')
    return backbone


def check_pretrained(model: dict, backbone: Backbone | None) -> None:
    """Reads the files of a model's pretrained weights; those for ``backbone``, on the meta device, must match it."""
    of_backbone = list(dicts_in(model.backbone.get('init_cfg'))) if backbone else []
    for node in dicts_in(model):
        if node.get('type') != 'Pretrained' or not _is_readable(node['checkpoint']):
            continue
        try:
            if any(node is own for own in of_backbone):
                with warnings.catch_warnings():
                    warnings.filterwarnings('ignore', '.*copying from a non-meta parameter.*', UserWarning)
                    load_backbone(backbone, node['checkpoint'], node.get('prefix'))
            else:
                check_checkpoint(node['checkpoint'])
        except CheckpointError as error:
            raise UsageError(f'pretrained weights: {error}; docs/zoo.md tells where weights are, and '
                             '--cfg-options model.backbone.init_cfg=None starts from random ones') from error


def check_checkpoint(filename: str) -> None:
    """Checks that a checkpoint can be read; names that other loaders resolve are skipped."""
    if _is_readable(filename):
        read_checkpoint(filename, mmap=True)


def _is_readable(filename: str) -> bool:
    return '://' not in filename or filename.startswith(('http', OFFICIAL))


def set_batch_size(cfg: Config, batch_size: int) -> None:
    if batch_size < 1:
        raise UsageError(f'--batch-size is {batch_size}; allowed is a whole number from 1')
    loader = cfg.train_dataloader
    target = loader if 'batch_size' in loader else loader.get('batch_sampler') or {}
    if 'batch_size' not in target:
        raise UsageError(f'--batch-size: train_dataloader of {cfg.filename} has no batch_size')
    target.batch_size = batch_size


def use_auto_scale_lr(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UsageError(f'--auto-scale-lr needs auto_scale_lr.base_batch_size, which {cfg.filename} lacks')
    cfg.auto_scale_lr.enable = True
