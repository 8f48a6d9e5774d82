"""Trains the classifier, detector or segmenter of a config.

    mmvit train reswin_tiny --coco-folder FOLDER
    mmvit train mask_rcnn_reswin_t --coco-folder data/coco_mini
    mmvit train configs/upernet_reswin_t.py --processes 8 --amp
    mmvit train upernet_reswin_t --resume --cfg-options train_dataloader.num_workers=8
"""
import argparse
from importlib import import_module
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import FlexibleRunner, Runner

from ..training.plan import QuietFlexibleRunner, QuietRunner, SummaryHook
from ..training.published import PublishedCurveHook
from ..training.run_hooks import CheckpointMatchHook
from ..training.work_dir import lock_work_dir
from ..utils.distributed import is_first_process
from ..utils.frameworks import import_quietly
from ..zoo.curves import CURVES
from ..zoo.loading import use_safe_loading
from . import steps
from .arguments import (
    add_data_arguments,
    add_pretrained_argument,
    add_run_arguments,
    add_size_argument,
    positive,
    rate,
    whole,
)
from .finetune import read_run_config
from .processes import init_processes
from .steps import take_steps

NEEDS = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
STEPS = (
    steps.add_reliable_hooks,
    steps.set_options,
    steps.set_work_dir,
    steps.set_launcher,
    steps.use_data,
    steps.set_size,
    steps.check_training_data,
    steps.use_pretrained,
    steps.freeze,
    steps.check_backbone,
    steps.set_batch_size,
    steps.set_length,
    steps.set_lr,
    steps.stop_early,
    steps.set_precision,
    steps.add_logs,
    steps.shard,
    steps.set_seed,
    steps.wrap_training_data,
    steps.load,
)
ADDITIONS = steps.add_reliable_hooks, steps.wrap_training_data  # left out with --plain


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', metavar='CONFIG_OR_NETWORK',
                        help='config file, the name of a config in this package, or a name from mmvit models, which '
                             'fine-tunes the network on --class-folder, --coco-folder or --seg-folder')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--amp', action='store_const', const='float16', dest='precision',
                           help='train with mixed precision in float16')
    precision.add_argument('--bf16', action='store_const', const='bfloat16', dest='precision',
                           help='train with mixed precision in bfloat16')
    precision.add_argument('--no-amp', action='store_const', const='float32', dest='precision',
                           help='train in float32 (default: the precision of the config; float32 on a CPU)')
    parser.add_argument('--batch-size', type=positive, help="images per process and step (default: the config's)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=positive,
                        help="number of epochs; the whole schedule is scaled to it (default: the config's; for a "
                             'network 100, less for more than 1000 images)')
    length.add_argument('--iters', type=positive,
                        help='number of iterations, for configs with max_iters; the whole schedule is scaled to it')
    parser.add_argument('--lr', type=rate, metavar='RATE',
                        help='peak learning rate; the whole schedule is scaled to it; auto multiplies the rate of the '
                             'config by images per update / images per update of the recipe')
    parser.add_argument('--early-stop', type=positive, metavar='N',
                        help='stop after N evaluations without a better result')
    parser.add_argument('--freeze', type=whole(0), metavar='N', help='freeze the stem and the first N stages')
    parser.add_argument('--resume', nargs='?', const='newest', metavar='CHECKPOINT',
                        help='resume from this checkpoint (default: the newest one in the work dir); "auto" '
                             'starts a new run if there is no checkpoint')
    parser.add_argument('--strategy', choices=['ddp', 'fsdp'], default='ddp',
                        help='ddp replicates the weights in all processes (default); fsdp shards them, for models that '
                             'do not fit on one GPU')
    parser.add_argument('--tensorboard', action='store_true', help='also log to TensorBoard')
    parser.add_argument('--wandb', action='store_true', help='also log to Weights & Biases')
    weights = parser.add_mutually_exclusive_group()
    add_pretrained_argument(weights)
    weights.add_argument('--no-pretrained', action='store_true', help='start from random weights')
    add_size_argument(parser)
    add_data_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument('--plain', action='store_true', help='add no hooks and wrappers to the config')
    parser.set_defaults(needs=NEEDS)
    return parser


def prepare(args: argparse.Namespace) -> Config:
    """Returns the config of the run after checking its data, backbone and checkpoint."""
    cfg = read_run_config(args)
    if args.plain:
        take_steps([step for step in STEPS if step not in ADDITIONS], cfg, args)
        return cfg
    if is_first_process():
        print(f'added to the config, where it has none: {", ".join(steps.RELIABLE_HOOKS.values())}, SeededDataset and '
              'ResumableBatchSampler, and settings of CheckpointHook; --plain adds nothing (docs/reliability.md)')
    take_steps(STEPS, cfg, args)
    return cfg


def get_runner(cfg: Config, plain: bool) -> Runner | FlexibleRunner:
    if not cfg.get('strategy'):
        return (Runner if plain else QuietRunner).from_cfg(cfg)
    import_module('mmvit_backbones.training.sharded')  # registers ShardedStrategy, which needs PyTorch 2.7
    return (FlexibleRunner if plain else QuietFlexibleRunner).from_cfg(cfg)


def main(args: argparse.Namespace) -> None:
    cfg = prepare(args)
    if args.check:
        return
    lock = lock_work_dir(cfg.work_dir) if is_first_process() else None
    init_processes(cfg)
    use_safe_loading()
    import_quietly(cfg.default_scope)
    runner = get_runner(cfg, args.plain)
    if not args.plain:
        runner.register_hook(SummaryHook())
        if curve := CURVES.get(Path(cfg.filename).stem):
            runner.register_hook(PublishedCurveHook(curve))
        runner.register_hook(CheckpointMatchHook(cfg.get('load_from'), strict=cfg.resume))
    runner.train()
    if lock:
        lock.close()
    if is_main_process():
        print(f'work dir: {runner.work_dir}')
