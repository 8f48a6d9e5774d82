"""Converts an option file of ReViT's authors to a config that inherits from a config of this package.

    mmvit config import THEIRS.yaml configs/imagenet_revit_b.py --out my_config.py

Unknown options and unsupported values are errors.
"""
import argparse
import re
from copy import deepcopy
from pathlib import Path
from pprint import pformat
from typing import Any

import yaml
from mmengine.config import Config

from ...data.text import read_text
from ...errors import UsageError
from ...utils.config import LOADERS, load_config
from ...utils.file_configs import dicts_in
from ..arguments import output_file

# Ignored options: data paths, logging and distributed training of the authors' program, and settings of other
# optimizers and schedules. RandAugment replaces color jitter, and the authors' networks have no dropout.
IGNORED = set("""
    TRAIN.enable TRAIN.dataset TRAIN.eval_period TRAIN.auto_resume TRAIN.checkpoint_path
    TEST.enable TEST.dataset TEST.batch_size TEST.checkpoint_file DATA.path
    SOLVER.lrs SOLVER.step_size SOLVER.steps SOLVER.momentum SOLVER.dampening SOLVER.nesterov SOLVER.warmup_factor
    SOLVER.load SOLVER.start_epoch SOLVER.summary SOLVER.fine_tune SOLVER.dist SOLVER.load_path SOLVER.checkpoint_path
    SOLVER.save SOLVER.log_period SOLVER.log_model_info SOLVER.dist_backend DATALOADER.pin_memory
    DEVICE.num_shards DEVICE.shard_id DEVICE.output_dir DEVICE.log_period DEVICE.log_model_info
    DEVICE.dist_backend AUG.color_jitter MODEL.loss_func MODEL.loss_func_val MODEL.head_act MODEL.dropout_rate
    ReViT.visualize""".split())
# Options with a single supported value.
FIXED = {
    'AUG.num_samples': 1, 'AUG.interpolation': 'bicubic', 'AUG.re_mode': 'pixel', 'AUG.re_count': 1,
    'AUG.re_split': False, 'MODEL.act_checkpoint': False, 'DATA.mean': [0.485, 0.456, 0.406],
    'DATA.std': [0.229, 0.224, 0.225], 'DATA.crop_size': 224, 'SOLVER.lr_policy': 'cosine',
    'SOLVER.cosine_after_warmup': True, 'SOLVER.zero_wd_1D_param': True, 'SOLVER.clip_grad_val': False,
    'SOLVER.layer_wise_decay': 1.0}
COMMON = dict(mode='conv', pool_first=False, qkv_bias=True, mlp_ratio=4, zero_decay_pos=False, rel_pos_zero_init=False,
              alpha=True, cls_embed_on=False)
ARCHITECTURES = {  # type of the backbone -> section of its options, and their supported values
    'ReViT': ('ReViT', dict(
        COMMON, patch_kernel=[16, 16], patch_stride=[16, 16], patch_padding=[0, 0], embed_dim=768, num_heads=12,
        depth=12, dim_mul=[], head_mul=[], pool_qkv_kernel=[], pool_kv_stride_adaptive=[], pool_q_stride=[],
        use_abs_pos=True, use_rel_pos=False, residual_pooling=False, dim_mul_in_att=False)),
    'ReMViTv2': ('ReViT', dict(
        COMMON, patch_kernel=[7, 7], patch_stride=[4, 4], patch_padding=[3, 3], embed_dim=96, num_heads=1, depth=10,
        dim_mul=[[1, 2.], [3, 2.], [8, 2.]], head_mul=[[1, 2.], [3, 2.], [8, 2.]], pool_qkv_kernel=[3, 3],
        pool_kv_stride_adaptive=[4, 4], pool_q_stride=[[i, *2 * [2 if i in (1, 3, 8) else 1]] for i in range(10)],
        use_abs_pos=False, use_rel_pos=True, residual_pooling=True, dim_mul_in_att=True)),
    'ReSwin': ('ReSwin', dict(
        patch_size=4, in_chans=3, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], windw_size=7,
        mlp_ratio=4, qkv_bias=True, qk_scale=[], ape=False, patch_norm=True, drop_rate=0., attn_drop_rate=0.))}
OPTIMIZERS = dict(adam='Adam', adamw='AdamW')
NUMBER = r'\d+\.?\d*|\.\d+'


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('yaml', metavar='YAML', help="option file of ReViT's authors")
    parser.add_argument('config', help='ImageNet config of the same network, from which the new config inherits')
    parser.add_argument('-o', '--out', type=output_file, help='config file to write (default: print only)')
    return parser


def main(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, needs=('model', 'optim_wrapper', 'train_dataloader'))
    if cfg.model.backbone.type not in ARCHITECTURES:
        raise UsageError(f'the backbone of config {args.config} must be one of {", ".join(ARCHITECTURES)}, got '
                         f'{cfg.model.backbone.type}')
    before = deepcopy(cfg.to_dict())
    change(cfg, read_options(args.yaml, cfg.model.backbone.type))
    text = f'# Converted from {Path(args.yaml).name}.\n_base_ = {str(Path(args.config).resolve())!r}\n'
    text += ''.join(f'{key} = {pformat(value)}\n' for key, value in difference(before, cfg.to_dict()).items())
    print(text)
    if args.out:
        Path(args.out).write_text(text)


def read_options(file: str, network: str) -> dict:
    """Returns the options to convert, by ``SECTION.name``, after checking the options with a single supported value."""
    try:
        sections = yaml.safe_load(read_text(file))
        options = {f'{section}.{name}': value for section, content in sections.items()
                   for name, value in content.items()}
    except (yaml.YAMLError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f'{file} must be a YAML file with options in sections: {reason}') from error
    section, values = ARCHITECTURES[network]
    fixed = {**FIXED, 'MODEL.name': network, **{f'{section}.{name}': value for name, value in values.items()}}
    for name in sorted(fixed.keys() & options.keys()):
        if options[name] != fixed[name]:
            raise UsageError(f'{file}: {name} must be {fixed[name]!r}, got {options[name]!r}')
    return {name: value for name, value in options.items() if name not in IGNORED and name not in fixed}


def change(cfg: Config, options: dict) -> None:
    """Applies the options to a config. Learning rates in the options are for 512 images per step and are rescaled.

    Raises:
        UsageError: If an option is missing or unknown, or has a wrong type or value.
    """
    loader, wrapper = cfg.train_dataloader, cfg.optim_wrapper

    def take(name: str, kind: type | tuple = (int, float)) -> Any:
        value = options.pop(name, None)
        if isinstance(value, str) and kind is not str:  # YAML reads 1e-3 as a string
            value = float(value) if re.fullmatch(rf'({NUMBER})(e-?\d+)?', value) else value
        if not isinstance(value, kind):
            kinds = ' or '.join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind, )))
            raise UsageError(f'{name} must be of type {kinds}, got {value!r}')
        return value

    def take_between(name: str, least: float, most: float, kind: type | tuple = (int, float)) -> Any:
        value = take(name, kind)
        if not least <= value <= most:
            raise UsageError(f'{name} must be from {least} to {most}, got {value!r}')
        return value

    def update(kind: str, **values) -> None:
        for step in dicts_in([cfg.get(split) for split in LOADERS]):
            if step.get('type') == kind:
                step.update(values)

    loader.batch_size = take_between('TRAIN.batch_size', 1, 10**6, int)
    loader.num_workers = take('DATALOADER.num_worker', int)
    cfg.auto_scale_lr.base_batch_size = loader.batch_size * take_between('DEVICE.num_gpu', 1, 10**6, int)
    steps, is_accumulated = take_between('SOLVER.accumulate_steps', 1, 10**6, int), take('SOLVER.accumulate', bool)
    wrapper.accumulative_counts = steps if is_accumulated else 1
    scale = cfg.auto_scale_lr.base_batch_size / 512 * wrapper.accumulative_counts
    wrapper.type = 'AmpOptimWrapper' if take('TRAIN.mixed_precision', bool) else 'OptimWrapper'
    rate, method = take_between('SOLVER.base_lr', 1e-12, 1000) * scale, take('SOLVER.optimizing_method', str)
    if method not in OPTIMIZERS:
        raise UsageError(f'SOLVER.optimizing_method must be {" or ".join(OPTIMIZERS)}, got {method!r}')
    wrapper.optimizer.update(type=OPTIMIZERS[method], lr=round(rate, 12), weight_decay=take('SOLVER.weight_decay'))
    wrapper.clip_grad = dict(max_norm=clip) if (clip := take('SOLVER.clip_grad_l2norm')) else None
    warmup, cosine = cfg.param_scheduler
    warmup.start_factor = round(take('SOLVER.warmup_start_lr') * scale / rate, 9)
    warmup.end = cosine.begin = take('SOLVER.warmup_epochs')
    cosine.eta_min = round(take('SOLVER.cosine_end_lr') * scale, 12)
    cosine.end = cfg.train_cfg.max_epochs = take('SOLVER.max_epochs')
    cfg.merge_from_dict({'randomness.seed': take('DEVICE.rng_seed', int)})
    cfg.model.backbone.drop_path_rate = take(f'{ARCHITECTURES[cfg.model.backbone.type][0]}.drop_path')
    cfg.model.head.update(num_classes=take('MODEL.num_classes', int))
    cfg.model.head.loss.label_smooth_val = take('MIXUP.labels_smooth_value')
    update('RandomErasing', erase_prob=take('AUG.re_prob'))
    update('ResizeEdge', scale=int(FIXED['DATA.crop_size'] / take_between('DATA.VAL_CROP_RATIO', 0.01, 1)))
    policy = take('AUG.AA_TYPE', str)
    if not (level := re.fullmatch(rf'rand-m(\d+)-n(\d+)-mstd({NUMBER})-inc1', policy)):
        raise UsageError(f'AUG.AA_TYPE must be rand-mM-nN-mstdS-inc1, got {policy!r}')
    update('RandAugment', magnitude_level=int(level[1]), num_policies=int(level[2]), magnitude_std=float(level[3]))
    alphas = dict(Mixup=take('MIXUP.mixup_alpha'), CutMix=take('MIXUP.cutmix_alpha'))
    augments = [dict(type=kind, alpha=alpha) for kind, alpha in alphas.items() if alpha]
    share, switch = take('MIXUP.mixup_prob'), take('MIXUP.switch_prob')
    probs = [share] if len(augments) == 1 else [share * (1 - switch), share * switch]
    cfg.model.train_cfg = dict(augments=augments, probs=probs) if take('MIXUP.enable', bool) and augments else None
    if options:
        raise UsageError(f'unknown options: {", ".join(f"{key}={value!r}" for key, value in options.items())}')


def difference(before: dict, after: dict) -> dict:
    """Returns the settings in ``after`` that differ from ``before``; lists are returned as a whole."""
    changes = {}
    for key, value in after.items():
        if key not in before or before[key] != value:
            nested = isinstance(value, dict) and isinstance(before.get(key), dict)
            changes[key] = difference(before[key], value) if nested else value
    return changes

