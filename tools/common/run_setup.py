"""Setup of a training run: work dir, hooks, logs, precision."""
import fcntl
import os
import os.path as osp
import socket
from importlib.util import find_spec
from typing import IO

import torch
from mmengine.config import Config

from mmvit_backbones.errors import UsageError

RELIABLE_HOOKS = dict(label_check='LabelCheckHook', finite_loss='FiniteLossHook', exact_resume='ExactResumeHook',
                      interrupt='InterruptHook')
VISUALIZERS = dict(mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer', mmpretrain='UniversalVisualizer',
                   mmpose='PoseLocalVisualizer')
BEST = {'mmseg': 'mIoU'}  # of several metrics, the first would be taken
LOG_BACKENDS = {'tensorboard': 'TensorboardVisBackend', 'wandb': 'WandbVisBackend'}


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    name = osp.splitext(osp.basename(cfg.filename))[0]
    cfg.work_dir = work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)


def lock_work_dir(work_dir: str) -> IO:
    """Creates the work dir and locks it until this process ends or the file is closed."""
    try:
        os.makedirs(work_dir, exist_ok=True)
        file = open(osp.join(work_dir, '.lock'), 'a+')
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process's own: workers do not inherit it
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise UsageError(f'work dir {work_dir} is in use by {file.read().strip() or "another run"}; '
                             'give this run another --work-dir') from error
        except OSError:
            return file  # a file system without locks
        file.truncate(0)
        print(f'process {os.getpid()} on {socket.gethostname()}', file=file, flush=True)
    except OSError as error:
        raise UsageError(f'work dir {work_dir} cannot be written: {error.strerror}') from error
    return file


def use_reliable_hooks(cfg: Config) -> None:
    """Adds the hooks for reliable runs, and limits the number of checkpoints, unless set by the config."""
    hooks = cfg.setdefault('default_hooks', {})
    for name, hook in RELIABLE_HOOKS.items():
        hooks.setdefault(name, dict(type=hook))
    if checkpoint := hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1)):
        if checkpoint.get('type', 'CheckpointHook') == 'CheckpointHook':
            checkpoint['type'] = 'AtomicCheckpointHook'
        checkpoint.setdefault('max_keep_ckpts', 3)
        if cfg.get('val_dataloader') and cfg.get('val_evaluator'):
            checkpoint.setdefault('save_best', BEST.get(cfg.default_scope, 'auto'))


def use_reliable_data(cfg: Config, max_skipped: int | None = None) -> None:
    """Wraps data set and batch sampler of the training so that it can be resumed exactly, unless the config does.

    ``max_skipped`` is the maximum number of unreadable samples; None keeps the config's, or 0.
    """
    loader = cfg.train_dataloader
    if loader.dataset.get('type') != 'ReliableDataset':
        loader.dataset = dict(type='ReliableDataset', dataset=loader.dataset)
    if max_skipped is not None:
        loader.dataset.max_skipped = max_skipped
    batch_sampler = loader.get('batch_sampler')
    if batch_sampler is None:
        loader.batch_sampler = dict(type='ResumableBatchSampler', drop_last=loader.pop('drop_last', False))
    elif batch_sampler.get('type') != 'ResumableBatchSampler':
        loader.batch_sampler = dict(type='ResumableBatchSampler', batch_sampler=batch_sampler)


def log_to(cfg: Config, package: str) -> None:
    """Logs losses and metrics for TensorBoard or Weights & Biases."""
    if find_spec(package) is None:
        raise UsageError(f'logging to {package} needs the package {package}: pip install {package}')
    visualizer = cfg.setdefault('visualizer', dict(type=VISUALIZERS[cfg.default_scope]))
    backends = list(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    if LOG_BACKENDS[package] not in [backend['type'] for backend in backends]:
        backends.append(dict(type=LOG_BACKENDS[package]))
    visualizer['vis_backends'] = backends


def set_precision(cfg: Config, dtype: str | None) -> None:
    """Sets the precision: 'float16' with loss scaling, 'bfloat16' without, or 'float32'.

    None keeps the config's, or float32 without a GPU.
    """
    has_gpu = torch.cuda.is_available()
    if dtype in ('float16', 'bfloat16'):
        if not has_gpu:
            raise UsageError(f'{dtype} needs a CUDA GPU, and this machine has none')
        if dtype == 'bfloat16' and not torch.cuda.is_bf16_supported():
            raise UsageError('this GPU has no bfloat16, but float16')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        if dtype == 'float16':
            cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        else:
            cfg.optim_wrapper.update(dtype=dtype, loss_scale=1.)
    elif cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and (dtype == 'float32' or not has_gpu):
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            cfg.optim_wrapper.pop(key, None)


def set_batch_size(cfg: Config, batch_size: int) -> None:
    if batch_size < 1:
        raise UsageError(f'--batch-size must be at least 1, got {batch_size}')
    loader = cfg.train_dataloader
    target = loader if 'batch_size' in loader else loader.get('batch_sampler') or {}
    if 'batch_size' not in target:
        raise UsageError(f'--batch-size: train_dataloader of {cfg.filename} has no batch_size')
    target.batch_size = batch_size


def use_auto_scale_lr(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UsageError(f'--auto-scale-lr scales by auto_scale_lr.base_batch_size, which {cfg.filename} lacks')
    cfg.auto_scale_lr.enable = True
