"""Tests a checkpoint of a classifier, detector or segmenter, or an exported file."""
import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..data.checks import check_data
from ..errors import UsageError
from ..inference.results import SCORE_THR
from ..training.run_hooks import CheckpointMatchHook
from ..utils.config import is_config, predicts_masks
from ..utils.distributed import is_first_process
from ..utils.files import check_file
from ..utils.frameworks import import_quietly
from ..utils.runs import LAST, find_checkpoint, find_config
from ..zoo import checks
from ..zoo.checks import check_checkpoint
from ..zoo.loading import use_safe_loading
from . import steps, testing
from .custom_data import data_options, use_custom_data
from .finetune import read_run_config
from .processes import init_processes


def set_work_dir(cfg: Config, args: argparse.Namespace) -> None:
    """Sets the work dir, by default the folder ``test`` in that of the training, whose files must not be replaced."""
    steps.set_work_dir(cfg, args)
    folder = Path(args.config).parent
    if not args.work_dir and Path(folder, LAST).exists():  # the config is of a run, which may have been moved
        cfg.work_dir = str(folder)
    if not args.work_dir or Path(cfg.work_dir, LAST).exists():
        cfg.work_dir = str(Path(cfg.work_dir, 'test'))


def use_data(cfg: Config, args: argparse.Namespace) -> None:
    """Uses custom data or another data root; the lists of its images are temporary."""
    use_custom_data(cfg, **data_options(args))


STEPS = steps.set_options, set_work_dir, steps.set_launcher, use_data, steps.set_size


def prepare(args: Any) -> Config:
    """Returns the config of the run after checking its data, backbone and checkpoint."""
    if args.checkpoint is None and Path(args.config).exists() and not is_config(args.config):
        args.checkpoint = find_checkpoint(args.config)
        args.config = find_config(args.checkpoint)
        if is_first_process():
            print(f'checkpoint {args.checkpoint}, config {args.config}')
    cfg = read_run_config(args)
    steps.take_steps(STEPS, cfg, args)
    if args.real:
        testing.use_real(cfg, args.real)
    if cfg.default_scope == 'mmpretrain':
        testing.add_metric(cfg, type='MeanCrossEntropy')
    check_data(cfg, ['test'])
    checks.check_backbone(cfg)
    if testing.is_exported(args.checkpoint):
        if args.pretrained:
            raise UsageError(f'--pretrained cannot be combined with {args.checkpoint}, which contains its weights')
        if args.tta and (cfg.default_scope == 'mmseg' or predicts_masks(cfg.model)):
            raise UsageError(f'--tta cannot merge the masks of an exported file such as {args.checkpoint}')
        path = str(args.checkpoint)
        check_file(path, 'model')
        testing.use_exported(cfg, path)
    else:
        cfg.load_from = checks.choose_checkpoint(cfg, args.checkpoint, args.pretrained)
        check_checkpoint(cfg.load_from)
        testing.check_classes(cfg, cfg.load_from)
    cfg.resume = False
    testing.add_class_figures(cfg)
    if args.show:
        testing.draw_predictions(cfg, args.show, args.show_dir, args.wait_time)
    if args.out:
        testing.save_predictions(cfg, args.out)
    if args.tta:
        testing.use_tta(cfg)
    return cfg


def main(args: argparse.Namespace) -> None:
    cfg = prepare(args)
    if args.check:
        return
    init_processes(cfg)
    use_safe_loading()
    import_quietly(cfg.default_scope)
    runner = Runner.from_cfg(cfg)
    if not testing.is_exported(args.checkpoint):
        runner.register_hook(CheckpointMatchHook(cfg.load_from, strict=True))
    if args.show_dir:
        threshold = ((cfg.get('default_hooks') or {}).get('visualization') or {}).get('score_thr', SCORE_THR)
        runner.register_hook(testing.DrawingHook(args.show_dir, threshold))
    runner.test()
