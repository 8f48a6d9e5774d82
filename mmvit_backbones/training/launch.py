"""Processes of a training or test."""
import os

import torch
from mmengine.config import Config

from ..errors import UsageError
from ..utils.file_configs import dicts_in


def check_launcher(launcher: str) -> None:
    """Raises UsageError for more processes than GPUs, and for launchers that need missing GPUs."""
    gpus, processes = torch.cuda.device_count(), int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if gpus and processes > gpus:
        raise UsageError(f'{processes} processes need a GPU each; this machine has {gpus}')
    if not gpus and launcher == 'mpi':
        raise UsageError('launcher mpi needs GPUs; without them, tools/dist_train.sh works')


def init_processes(cfg: Config, launcher: str) -> None:
    """Sets the launcher in the config; without GPUs, connects the processes, which mmengine cannot do."""
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    if 'RANK' not in os.environ:
        started_by = 'tools/slurm_train.sh or srun' if launcher == 'slurm' else 'tools/dist_train.sh or torchrun'
        raise UsageError(f'launcher {launcher} needs processes started by {started_by}')
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
        raise UsageError('ShardedStrategy needs several processes: use tools/dist_train.sh or tools/slurm_train.sh')
    if any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or ()):
        raise UsageError('ShardedStrategy cannot average weights: remove EMAHook from custom_hooks')
    cfg.strategy = dict(type='ShardedStrategy')
