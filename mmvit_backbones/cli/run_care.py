"""What the training script adds to a config so that a run looks after itself: checkpoints, logs, precision."""
from importlib.util import find_spec

import torch
from mmengine.config import Config

from .config import UsageError
from .frameworks import VISUALIZERS

KEPT_CHECKPOINTS = 3
BEST = {'mmseg': 'mIoU'}  # of several metrics, the first would be taken
LOG_BACKENDS = {'tensorboard': 'TensorboardVisBackend', 'wandb': 'WandbVisBackend'}


def keep_few_checkpoints(cfg: Config) -> None:
    """Keep the last checkpoints and the best one, where the config does not say otherwise."""
    hooks = cfg.setdefault('default_hooks', {})
    if hooks.get('checkpoint', {}) is None:
        return
    hook = hooks.setdefault('checkpoint', dict(type='CheckpointHook'))
    hook.setdefault('max_keep_ckpts', KEPT_CHECKPOINTS)
    if cfg.get('val_dataloader') and cfg.get('val_evaluator'):
        hook.setdefault('save_best', BEST.get(cfg.default_scope, 'auto'))


def log_to(cfg: Config, package: str) -> None:
    """Log losses and metrics for TensorBoard or Weights & Biases, too."""
    if find_spec(package) is None:
        raise UsageError(f'--{package} needs the package {package}: pip install {package}')
    visualizer = cfg.setdefault('visualizer', dict(type=VISUALIZERS[cfg.default_scope]))
    backends = list(visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
    if LOG_BACKENDS[package] not in [backend['type'] for backend in backends]:
        backends.append(dict(type=LOG_BACKENDS[package]))
    visualizer['vis_backends'] = backends


def set_precision(cfg: Config, dtype: str | None) -> None:
    """Train in 'float16', with a loss that is scaled, in 'bfloat16', which needs none, or in 'float32'.

    None leaves it to the config, and means float32 where there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if dtype in ('float16', 'bfloat16'):
        option = '--amp' if dtype == 'float16' else '--bf16'
        if not has_gpu:
            raise UsageError(f'{option} needs a CUDA GPU, and this machine has none')
        if dtype == 'bfloat16' and not torch.cuda.is_bf16_supported():
            raise UsageError('--bf16: this GPU has no bfloat16; --amp works')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        if dtype == 'float16':
            cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        else:
            cfg.optim_wrapper.update(dtype=dtype, loss_scale=1.)
    elif cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and (dtype == 'float32' or not has_gpu):
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            cfg.optim_wrapper.pop(key, None)
