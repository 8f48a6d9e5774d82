"""Trains the classifier, detector or segmenter of a config.

    mmvit train mask_rcnn_reswin_t --coco-folder data/coco_mini
    mmvit train configs/upernet_reswin_t.py --processes 8 --amp
    mmvit train upernet_reswin_t --resume --cfg-options train_dataloader.num_workers=8
"""
import argparse
import sys
from copy import deepcopy
from importlib import import_module

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import FlexibleRunner, Runner

from ..training.plan import QuietFlexibleRunner, QuietRunner, SummaryHook
from ..training.run_hooks import CheckpointMatchHook, OptionsHook, ProgressBarHook
from ..training.work_dir import lock_work_dir
from ..utils.config import read_config
from ..utils.distributed import is_first_process
from ..utils.frameworks import import_quietly
from ..zoo.loading import use_safe_loading
from . import steps
from .arguments import above_zero, add_data_arguments, add_pretrained_argument, add_run_arguments, positive, whole
from .explain import explained_errors
from .processes import init_processes
from .resume import resume_options, saved_options
from .steps import MAX_SKIPPED, take_steps

NEEDS = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
WHERE = (steps.add_reliable_hooks, steps.set_options, steps.set_work_dir)  # the steps that determine the work dir
STEPS = (
    *WHERE,
    steps.set_launcher,
    steps.use_data,
    steps.check_training_data,
    steps.use_pretrained,
    steps.freeze,
    steps.check_backbone,
    steps.set_length,
    steps.set_lr,
    steps.scale_lr_by_batch,
    steps.check_optimizer,
    steps.stop_early,
    steps.set_precision,
    steps.add_logs,
    steps.shard,
    steps.set_seed,
    steps.set_batch_size,
    steps.wrap_training_data,
    steps.load,
)


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of a config in this package')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--amp', action='store_const', const='float16', dest='precision',
                           help='train with mixed precision in float16')
    precision.add_argument('--bf16', action='store_const', const='bfloat16', dest='precision',
                           help='train with mixed precision in bfloat16')
    precision.add_argument('--no-amp', action='store_const', const='float32', dest='precision',
                           help='train in float32 (default: the precision of the config; float32 on a CPU)')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='multiply the learning rate by total batch size / auto_scale_lr.base_batch_size')
    parser.add_argument('--batch-size', type=positive, help="images per process and step (default: the config's)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=positive, help='number of epochs; the whole schedule is scaled to it')
    length.add_argument('--iters', type=positive,
                        help='number of iterations, for configs with max_iters; the whole schedule is scaled to it')
    parser.add_argument('--lr', type=above_zero, help='peak learning rate; the whole schedule is scaled to it')
    parser.add_argument('--early-stop', type=positive, metavar='N',
                        help='stop after N evaluations without a better result')
    parser.add_argument('--freeze', type=whole(0), metavar='N', help='freeze the stem and the first N stages')
    parser.add_argument('--on-bad-data', choices=('stop', 'skip'),
                        help='stop at an unreadable sample (default), or replace it with another sample')
    parser.add_argument('--max-skipped', type=whole(0), metavar='N',
                        help='skip at most N unreadable samples per process (default with --on-bad-data skip: '
                             f'{MAX_SKIPPED})')
    parser.add_argument('--resume', nargs='?', const='newest', metavar='CHECKPOINT',
                        help='resume from this checkpoint (default: the newest intact one in the work dir); "auto" '
                             'starts a new run if there is no checkpoint')
    parser.add_argument('--strategy', choices=['ddp', 'fsdp'], default='ddp',
                        help='ddp replicates the weights in all processes (default); fsdp shards them, for models that '
                             'do not fit on one GPU')
    parser.add_argument('--tensorboard', action='store_true', help='also log to TensorBoard')
    parser.add_argument('--wandb', action='store_true', help='also log to Weights & Biases')
    add_pretrained_argument(parser)
    add_data_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument('--plan', action='store_true',
                        help='print the steps that prepare the config, with the changes of each step, then stop')
    parser.set_defaults(needs=NEEDS)
    return parser


def prepare(args: argparse.Namespace) -> tuple[Config, argparse.Namespace]:
    """Returns the config and the arguments of the run after checking its data, backbone and checkpoint.

    The arguments of a resumed run include those saved in the checkpoint.
    """
    cfg = read_config(args.config, args.needs)
    located = deepcopy(cfg)
    take_steps(WHERE, located, args)
    args = resume_options(args, located)
    take_steps(STEPS, cfg, args, show=args.plan)
    return cfg, args


def get_runner(cfg: Config) -> Runner | FlexibleRunner:
    if not cfg.get('strategy'):
        return QuietRunner.from_cfg(cfg)
    import_module('mmvit_backbones.training.sharded')  # registers ShardedStrategy, which needs PyTorch 2.7
    return QuietFlexibleRunner.from_cfg(cfg)


def main(args: argparse.Namespace) -> None:
    args.check |= args.plan
    cfg, args = prepare(args)
    if args.check:
        return
    lock = lock_work_dir(cfg.work_dir) if is_first_process() else None
    init_processes(cfg)
    use_safe_loading()
    import_quietly(cfg.default_scope)
    runner = get_runner(cfg)
    if sys.stderr.isatty() and is_main_process():
        runner.register_hook(ProgressBarHook())
    runner.register_hook(OptionsHook(saved_options(args)))
    runner.register_hook(SummaryHook())
    runner.register_hook(CheckpointMatchHook(cfg.get('load_from'), strict=cfg.resume))
    with explained_errors(runner):
        runner.train()
    if lock:
        lock.close()
    if is_main_process():
        print(f'work dir: {runner.work_dir}')
