"""Tests a checkpoint of a classifier, detector or segmenter, or an exported file.

    mmvit test work_dirs/mask_rcnn_reswin_t              # the best checkpoint of a training, with its config
    mmvit test mask_rcnn_reswin_t work_dirs/mask_rcnn_reswin_t/epoch_12.pth --coco-folder data/coco_mini
    mmvit test imagenet_reswin_t --pretrained --processes 8
"""
import argparse
from pathlib import Path

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
from .arguments import (
    add_data_arguments,
    add_pretrained_argument,
    add_run_arguments,
    add_size_argument,
    data_options,
    finite,
    output_file,
    output_folder,
)
from .custom_data import use_custom_data
from .finetune import read_run_config
from .processes import init_processes

NEEDS = ('model', 'test_dataloader', 'test_cfg', 'test_evaluator')
def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', metavar='RUN|CONFIG|NETWORK',
                        help='work dir of a training, or one of its checkpoints; or a config file, the name of a '
                             'config in this package, or a name from mmvit models that was trained by name')
    parser.add_argument('checkpoint', nargs='?',
                        help="checkpoint file or http(s) URL (classifiers: also in the authors' layout), or a file "
                             'written by mmvit export')
    add_pretrained_argument(parser)
    add_size_argument(parser)
    add_data_arguments(parser)
    parser.add_argument('--out', type=output_of,
                        help='where to save the predictions: a .pkl file, or for mmseg a folder of label images')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', type=output_folder,
                        help='folder for drawings of the annotations and the predictions')
    parser.add_argument('--wait-time', type=finite(0), default=2,
                        help='seconds per image with --show (default: %(default)s)')
    parser.add_argument('--tta', action='store_true', help='use test-time augmentation')
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument('--imagenet-variant', metavar='FOLDER',
                        help='test an ImageNet classifier on ImageNet-V2, -A, -R, -Sketch or -C in this folder')
    labels.add_argument('--real', nargs='?', const='data/imagenet/real.json', metavar='FILE',
                        help="also test a classifier on ImageNet's reassessed labels, ReaL (default: %(const)s)")
    add_run_arguments(parser)
    parser.set_defaults(needs=NEEDS)
    return parser


def output_of(path: str) -> str:
    return output_file(path) if path.endswith(testing.PICKLES) else output_folder(path)


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


def prepare(args: argparse.Namespace) -> Config:
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
    if args.imagenet_variant:
        testing.use_imagenet_variant(cfg, args.imagenet_variant)
    if cfg.default_scope == 'mmpretrain':
        testing.add_metric(cfg, type='MeanCrossEntropy')
    check_data(cfg, ['test'])
    checks.check_backbone(cfg)
    if testing.is_exported(args.checkpoint):
        if args.pretrained:
            raise UsageError(f'--pretrained cannot be combined with {args.checkpoint}, which contains its weights')
        if args.tta and (cfg.default_scope == 'mmseg' or predicts_masks(cfg.model)):
            raise UsageError(f'--tta cannot merge the masks of an exported file such as {args.checkpoint}')
        check_file(args.checkpoint, 'model')
        testing.use_exported(cfg, args.checkpoint)
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
