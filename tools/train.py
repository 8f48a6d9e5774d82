"""Trains a detector, a segmenter or a classifier, selected by the config."""
import argparse
import os
import os.path as osp
import sys
from importlib import import_module

from common import run_setup, training
from common.command_line import (
    add_data_arguments,
    add_pretrained_argument,
    add_run_arguments,
    check_launcher,
    data_options,
    init_processes,
    run_script,
)
from common.custom_data import use_custom_data
from common.data_checks import check_data
from common.hooks import AccelerateHook, CheckpointMatchHook, ProgressBarHook
from common.resume import set_resume
from common.schedule import scale_length, scale_lr, stop_early
from common.weights import check_checkpoint, check_pretrained
from mmengine.config import Config
from mmengine.dist import is_main_process

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import load_config
from mmvit_backbones.utils.file_configs import import_quietly
from mmvit_backbones.zoo import checks
from mmvit_backbones.zoo.loading import use_safe_loading

NEEDS = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
MAX_SKIPPED = 100


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--amp', action='store_const', const='float16', dest='precision',
                           help='train with mixed precision, float16')
    precision.add_argument('--bf16', action='store_const', const='bfloat16', dest='precision',
                           help='the same with bfloat16')
    precision.add_argument('--no-amp', action='store_const', const='float32', dest='precision',
                           help='train in float32 (default: the precision of the config, on a GPU)')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate by the real batch size over auto_scale_lr.base_batch_size')
    parser.add_argument('--batch-size', type=int, help='images per process and step (default: as in the config)')
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=int, help='length of the training, to which the whole schedule is scaled')
    length.add_argument('--iters', type=int, help='the same for configs by iterations')
    parser.add_argument('--lr', type=float, help='learning rate at its peak; the whole schedule is scaled')
    parser.add_argument('--early-stop', type=int, metavar='N', help='stop after N evaluations without a better result')
    parser.add_argument('--freeze', type=int, metavar='N', help='keep the stem and the first N stages as they are')
    parser.add_argument('--on-bad-data', choices=('stop', 'skip'),
                        help='stop at an unreadable sample (default), or take another one instead')
    parser.add_argument('--max-skipped', type=int, metavar='N',
                        help=f'skip at most N unreadable samples (default of --on-bad-data skip: {MAX_SKIPPED})')
    parser.add_argument('--resume', nargs='?', const='newest', metavar='CHECKPOINT',
                        help='continue from this checkpoint, or from the newest intact one in the work dir; "auto" '
                             'starts a new training if there is none')
    parser.add_argument('--strategy', choices=['ddp', 'fsdp'], default='ddp',
                        help='how several processes work: with all weights each (default), or with a share of them, '
                             'for networks that do not fit one GPU; modules are then not accelerated')
    parser.add_argument('--tensorboard', action='store_true', help='also log for TensorBoard')
    parser.add_argument('--wandb', action='store_true', help='also log to Weights & Biases')
    add_pretrained_argument(parser)
    add_data_arguments(parser)
    add_run_arguments(parser)
    return parser


def prepare(args: argparse.Namespace) -> Config:
    """Returns the config of the run, after checking that everything it needs exists."""
    cfg = load_config(args.config, args.cfg_options, NEEDS, run_setup.use_reliable_hooks)
    run_setup.set_work_dir(cfg, args.work_dir)
    check_launcher(args.launcher)
    use_custom_data(cfg, **data_options(args), list_folder=None if args.check else osp.join(cfg.work_dir, 'data'))
    check_data(cfg, ['train', 'val'])
    if args.pretrained:
        weights = checks.choose_checkpoint(cfg, None, args.pretrained)
        cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=weights)
    if args.freeze is not None:
        cfg.model.backbone.frozen_stages = args.freeze
    check_pretrained(cfg.model, checks.check_backbone(cfg))
    for unit in ('epochs', 'iters'):
        if getattr(args, unit) is not None:
            scale_length(cfg, unit, getattr(args, unit))
    if args.lr is not None:
        scale_lr(cfg, args.lr)
    if args.early_stop is not None:
        stop_early(cfg, args.early_stop)
    run_setup.set_precision(cfg, args.precision)
    for package in run_setup.LOG_BACKENDS:
        if getattr(args, package):
            run_setup.log_to(cfg, package)
    if args.auto_scale_lr:
        run_setup.use_auto_scale_lr(cfg)
    cfg.launcher = args.launcher
    if args.strategy == 'fsdp':
        training.use_sharding(cfg)
    if args.seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    if args.batch_size is not None:
        run_setup.set_batch_size(cfg, args.batch_size)
    if args.on_bad_data == 'stop' and args.max_skipped:
        raise UsageError(f'--on-bad-data stop skips no sample, got --max-skipped {args.max_skipped}')
    default = dict(stop=0, skip=MAX_SKIPPED).get(args.on_bad_data)
    run_setup.use_reliable_data(cfg, default if args.max_skipped is None else args.max_skipped)
    set_resume(cfg, args.resume)
    if cfg.get('load_from') and not cfg.resume:
        check_checkpoint(cfg.load_from)
    return cfg


def get_runner(cfg: Config) -> training.QuietRunner | training.QuietFlexibleRunner:
    if not cfg.get('strategy'):
        return training.QuietRunner.from_cfg(cfg)
    import_module('mmvit_backbones.training.sharded')  # registers itself; needs PyTorch 2.7
    return training.QuietFlexibleRunner.from_cfg(cfg)


def main(args: argparse.Namespace) -> None:
    cfg = prepare(args)
    if args.check:
        return
    lock = run_setup.lock_work_dir(cfg.work_dir) if os.environ.get('RANK', '0') == '0' else None
    init_processes(cfg, args.launcher)
    use_safe_loading()
    import_quietly(cfg.default_scope)
    runner = get_runner(cfg)
    if sys.stderr.isatty() and is_main_process():
        runner.register_hook(ProgressBarHook())
    if not (args.no_accelerate or cfg.get('strategy')):
        runner.register_hook(AccelerateHook())
    runner.register_hook(training.SummaryHook())
    runner.register_hook(CheckpointMatchHook(cfg.get('load_from'), strict=cfg.resume))
    with training.explained_errors(runner):
        runner.train()
    if lock:
        lock.close()
    if is_main_process():
        print(f'work dir: {runner.work_dir}')


if __name__ == '__main__':
    run_script(get_parser(), main)
