"""Defines the steps that prepare a run: functions that check the config or change it according to the arguments.

Most steps for an option do nothing if the option is not given. The docstring of a step describes what the step does and
when it runs.
"""
import argparse
import os.path as osp
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec

import torch
from mmengine.config import Config

from ..analysis.counters import count_macs
from ..data.checks import check_data
from ..data.sizes import Size, resize_data
from ..errors import CheckpointError, UsageError
from ..training.resume import checkpoint_to_resume, resume_from
from ..utils.config import VISUALIZERS, apply_options, dicts_in
from ..utils.distributed import is_first_process
from ..zoo import checks
from . import finetune, schedule
from .custom_data import data_options, use_custom_data
from .processes import check_number_of_processes, number_of_processes

# Hooks for fault tolerance (docs/reliability.md), by their keys in default_hooks.
RELIABLE_HOOKS = dict(finite_loss='FiniteLossHook', exact_resume='ExactResumeHook', interrupt='InterruptHook')
RANDOM_WEIGHTS = 'pass --no-pretrained to train from random weights'
BEST = {'mmseg': 'mIoU'}  # with 'auto', MMEngine selects the first metric
LOG_BACKENDS = {'tensorboard': 'TensorboardVisBackend', 'wandb': 'WandbVisBackend'}

Step = Callable[[Config, argparse.Namespace], None]


def take_steps(steps: Iterable[Step], cfg: Config, args: argparse.Namespace) -> None:
    """Runs the steps in order."""
    for step in steps:
        step(cfg, args)


# ---- steps of training and testing


def set_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies --cfg-options. Runs before the other options, which build on the resulting config."""
    apply_options(cfg, args.cfg_options, args.needs)


def set_work_dir(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the work dir. Runs after --cfg-options, which may set the work dir."""
    name = osp.splitext(osp.basename(cfg.filename))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)


def set_launcher(cfg: Config, args: argparse.Namespace) -> None:
    """Checks the number of GPUs and sets the launcher. Does not depend on other steps."""
    check_number_of_processes(torch.cuda.device_count())
    cfg.launcher = args.launcher


def use_data(cfg: Config, args: argparse.Namespace) -> None:
    """Uses custom data or another data root. Runs after the work dir is set, because lists of images are saved there.
    """
    list_folder = None if args.check else osp.join(cfg.work_dir, 'data')
    use_custom_data(cfg, **data_options(args), list_folder=list_folder)


# ---- steps of training


def add_reliable_hooks(cfg: Config, args: argparse.Namespace) -> None:
    """Adds missing fault tolerance hooks and checkpoint settings. Runs before --cfg-options, which may change them.

    Also imports this package, which registers the hooks, when another program reads the config that the run saves.
    """
    imports = cfg.get('custom_imports') or dict(imports=[])
    names = [imports['imports']] if isinstance(imports['imports'], str) else list(imports['imports'])
    if 'mmvit_backbones' not in names:
        cfg.custom_imports = dict(imports, imports=[*names, 'mmvit_backbones'])
    cfg.setdefault('default_hooks', {})  # returns its argument, of which MMEngine's config stores a copy
    hooks = cfg.default_hooks
    for name, hook in RELIABLE_HOOKS.items():
        hooks.setdefault(name, dict(type=hook))
    hooks.setdefault('checkpoint', dict(type='CheckpointHook', interval=1))
    if checkpoint := hooks.checkpoint:
        is_local = '://' not in str(checkpoint.get('out_dir'))
        if is_local and checkpoint.get('type', 'CheckpointHook') == 'CheckpointHook':
            checkpoint.setdefault('backend_args', dict(backend='atomic'))
        checkpoint.setdefault('max_keep_ckpts', 3)
        if cfg.get('val_dataloader') and cfg.get('val_evaluator'):
            checkpoint.setdefault('save_best', BEST.get(cfg.default_scope, 'auto'))


def check_training_data(cfg: Config, args: argparse.Namespace) -> None:
    """Checks the files and annotations of the data. Runs after the data folder is set."""
    check_data(cfg, ['train', 'val'])
    for node in dicts_in(cfg.train_dataloader.dataset):
        if node.get('type') == 'LoadTokenLabels' and not osp.isdir(node['root']):
            raise UsageError(f'token labels {node["root"]} do not exist; create them with mmvit data '
                             'token-labels')


def use_pretrained(cfg: Config, args: argparse.Namespace) -> None:
    """Starts from the authors' weights, which is the default for a network, or from random weights with
    --no-pretrained. Runs after --cfg-options, which may select another backbone.
    """
    of_random_weights = cfg.pop('random_weights', {})  # settings of a fine-tuning recipe
    if args.no_pretrained:
        cfg.model.backbone.init_cfg = None
        cfg.merge_from_dict(of_random_weights)
    elif args.pretrained or finetune.is_network(args.config):
        try:
            weights = (checks.official_name(args.config, args.pretrained or True) if finetune.is_network(args.config)
                       else checks.choose_checkpoint(cfg, None, args.pretrained))
        except CheckpointError as error:
            raise UsageError(f'{error}; {RANDOM_WEIGHTS}') from error
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=weights)


def freeze(cfg: Config, args: argparse.Namespace) -> None:
    """Freezes the stem and the first stages. Runs before the backbone is checked."""
    if args.freeze is not None:
        cfg.model.backbone.frozen_stages = args.freeze


def check_backbone(cfg: Config, args: argparse.Namespace) -> None:
    """Checks the backbone's arguments and pretrained weights. Runs after all changes to the backbone."""
    backbone = checks.check_backbone(cfg)
    try:
        checks.check_pretrained(cfg.model, backbone)
    except UsageError as error:
        raise UsageError(f'{error}; {RANDOM_WEIGHTS}') from error


def set_length(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the length of the training and scales schedulers and intervals to it; by default, the number of epochs for a
    network follows from the number of images. Runs after the data and the batch size are set.
    """
    if finetune.is_network(args.config):
        finetune.set_length(cfg, args.epochs, args.iters, images_per_step(cfg, args))
        return
    for unit in ('epochs', 'iters'):
        if getattr(args, unit) is not None:
            schedule.scale_length(cfg, unit, getattr(args, unit))


def set_lr(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the learning rate, or scales it by the images per update (--lr auto, the default for a network); otherwise
    reports the scaled rate if the images per update differ from the recipe's. Runs after the batch size is set.
    """
    if isinstance(args.lr, float):
        schedule.scale_lr(cfg, args.lr)
        return
    is_auto = args.lr == 'auto' or finetune.is_network(args.config)
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    rate, images = (cfg.optim_wrapper.get('optimizer') or {}).get('lr'), images_per_step(cfg, args)
    if not (base and rate and images):
        if is_auto:
            raise UsageError(f'--lr auto requires auto_scale_lr.base_batch_size, optim_wrapper.optimizer.lr and '
                             f'train_dataloader.batch_size in {cfg.filename}')
        return
    updates, scaled = cfg.optim_wrapper.get('accumulative_counts', 1), rate * images / base
    if is_auto:
        schedule.scale_lr(cfg, scaled)
        cfg.auto_scale_lr.base_batch_size = images  # of the rate that is now in the config
    elif images != base and is_first_process():
        print(f'{images * updates} images per update instead of the {base * updates} of the recipe, but its learning '
              f'rate, {rate:.3g}; mmvit train --lr auto would set {scaled:.3g}', file=sys.stderr)


def images_per_step(cfg: Config, args: argparse.Namespace) -> int:
    """Returns the number of training images per step in all processes, or 0 if the config sets no batch size."""
    loader = cfg.train_dataloader
    size = loader.get('batch_size') or (loader.get('batch_sampler') or {}).get('batch_size') or 0
    return size * (1 if args.launcher == 'none' else number_of_processes())


def stop_early(cfg: Config, args: argparse.Namespace) -> None:
    """Enables early stopping. Runs after the data is set, because the data may change the metrics."""
    if args.early_stop is not None:
        schedule.stop_early(cfg, args.early_stop)


def set_precision(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the precision, by default the config's, or float32 without a GPU. Runs after --cfg-options."""
    has_gpu = torch.cuda.is_available()
    use_precision(cfg, args.precision, has_gpu, has_gpu and torch.cuda.is_bf16_supported())


def use_precision(cfg: Config, dtype: str | None, has_gpu: bool, has_bfloat16: bool) -> None:
    """Sets the precision, for a machine with or without a GPU, which may support bfloat16.

    Raises:
        UsageError: If the machine does not support ``dtype``.
    """
    if dtype in ('float16', 'bfloat16'):
        if not has_gpu:
            raise UsageError(f'{dtype} needs a CUDA GPU, but this machine has none')
        if dtype == 'bfloat16' and not has_bfloat16:
            raise UsageError('this GPU does not support bfloat16; use --amp for float16')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        if dtype == 'bfloat16':
            cfg.optim_wrapper.update(dtype=dtype, loss_scale=1.)  # bfloat16 needs no loss scaling
        elif cfg.optim_wrapper.get('dtype', dtype) != dtype:
            cfg.optim_wrapper.update(dtype=dtype, loss_scale='dynamic')
        else:
            cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    elif cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and (dtype == 'float32' or not has_gpu):
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            cfg.optim_wrapper.pop(key, None)


def add_logs(cfg: Config, args: argparse.Namespace) -> None:
    """Adds logging to TensorBoard or Weights & Biases. Runs after --cfg-options."""
    for package in (package for package in LOG_BACKENDS if getattr(args, package)):
        if find_spec(package) is None:
            raise UsageError(f'--{package} needs the package {package}: pip install {package}')
        cfg.setdefault('visualizer', dict(type=VISUALIZERS[cfg.default_scope]))
        backends = list(cfg.visualizer.get('vis_backends') or [dict(type='LocalVisBackend')])
        if LOG_BACKENDS[package] not in [backend['type'] for backend in backends]:
            backends.append(dict(type=LOG_BACKENDS[package]))
        cfg.visualizer['vis_backends'] = backends


def shard(cfg: Config, args: argparse.Namespace) -> None:
    """Shards weights and optimizer states across processes (--strategy fsdp). Runs after the launcher is set."""
    if args.strategy != 'fsdp':
        return
    if cfg.launcher == 'none':
        raise UsageError('--strategy fsdp needs several processes: use --processes N or --launcher')
    if any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or ()):
        raise UsageError('--strategy fsdp does not support EMAHook; remove it from custom_hooks')
    cfg.strategy = dict(type='ShardedStrategy')


def set_size(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the image size (--size) in all data steps. Runs after the data is set."""
    if args.size is None:
        return
    try:
        old, new = resize_data(cfg, args.size)
    except UsageError as error:
        raise UsageError(f'--size {" ".join(map(str, args.size))}: {error}') from error
    if is_first_process():
        print(f'image size: {compare_sizes(cfg, old, new)}', file=sys.stderr)


def compare_sizes(cfg: Config, old: Size, new: Size) -> str:
    """Returns a text with two image sizes, and the backbone's multiply-adds per image of these sizes."""
    (height, width), (old_height, old_width) = new, old
    text = f'{height} x {width} (height x width) instead of {old_height} x {old_width}, '
    if (backbone := checks.check_backbone(cfg)) is None:
        return f'{text}{height * width / old_height / old_width:.2g} times the pixels'
    was, now = (count_macs(backbone.eval(), torch.empty(1, backbone.in_channels, *size, device='meta'))
                for size in (old, new))
    return f'{text}{now:.3g} instead of {was:.3g} GMACs per image in {type(backbone).__name__}'


def set_seed(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the seed of the run. Runs after --cfg-options."""
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)


def set_batch_size(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the batch size per process. Runs before the batch sampler, which may contain the size, is wrapped."""
    if args.batch_size is None:
        return
    loader = cfg.train_dataloader
    target = loader if 'batch_size' in loader else loader.get('batch_sampler') or {}
    if 'batch_size' not in target:
        raise UsageError(f'--batch-size cannot be used, because train_dataloader of {cfg.filename} has no batch_size')
    target['batch_size'] = args.batch_size


def wrap_training_data(cfg: Config, args: argparse.Namespace) -> None:
    """Wraps the training data set and its batch sampler for exact resuming. Runs after all changes to both."""
    loader = cfg.train_dataloader
    if loader.dataset.get('type') != 'SeededDataset':
        loader.dataset = dict(type='SeededDataset', dataset=loader.dataset)
    batch_sampler = loader.get('batch_sampler')
    if batch_sampler is None:
        loader.batch_sampler = dict(type='ResumableBatchSampler', drop_last=loader.pop('drop_last', False))
    elif batch_sampler.get('type') != 'ResumableBatchSampler':
        loader.batch_sampler = dict(type='ResumableBatchSampler', batch_sampler=batch_sampler)


def load(cfg: Config, args: argparse.Namespace) -> None:
    """Resumes from a checkpoint or loads weights. Runs last, to compare the final config with the checkpoint's."""
    resume = args.resume or (cfg.get('load_from') or 'auto' if cfg.get('resume') else None)
    path = checkpoint_to_resume(resume, cfg.work_dir) if resume else None
    cfg.resume = path is not None
    if path:
        resume_from(cfg, path)
    elif cfg.get('load_from'):
        checks.check_checkpoint(cfg.load_from)
