"""Trains the classifier, detector or segmenter of a config."""
import argparse
from importlib import import_module
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import FlexibleRunner, Runner

from ..training.plan import QuietFlexibleRunner, QuietRunner, SummaryHook, check_batches
from ..training.published import PublishedCurveHook
from ..training.run_hooks import CheckpointMatchHook
from ..training.work_dir import lock_work_dir
from ..utils.distributed import is_first_process
from ..utils.frameworks import import_quietly
from ..zoo.curves import CURVES
from ..zoo.loading import use_safe_loading
from . import steps
from .finetune import read_run_config
from .processes import init_processes
from .steps import take_steps

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
    check_batches(runner)
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
