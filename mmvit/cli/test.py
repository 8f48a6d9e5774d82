"""Tests a checkpoint of a classifier, detector or segmenter, or an exported file.

    mmvit test work_dirs/mask_rcnn_reswin_t              # the best checkpoint of a training, with its config
    mmvit test mask_rcnn_reswin_t work_dirs/mask_rcnn_reswin_t/epoch_12.pth --data-root data/coco
    mmvit test restv2_tiny official://restv2_tiny        # published weights
    mmvit test work_dirs/reswin_tiny_detector --coco-folder OTHER
"""
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from ..naming import list_kinds
from ..utils.limits import Limits
from .arguments import add_fine_tuning_arguments, add_run_arguments, given_to, new_parser, output_file, output_folder
from .docstrings import with_help

if TYPE_CHECKING:
    from mmengine.config import Config

def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='RUN|CONFIG',
                        help=f'{list_kinds("test")}: alone, a work dir, a checkpoint or a file of mmvit export in one; '
                             'with CHECKPOINT, a config file, or the name of a config in this package, or of a network '
                             'for its classifier')
    parser.add_argument('checkpoint', nargs='?', metavar='CHECKPOINT',
                        help="checkpoint file, URL or official://NAME (classifiers: also in the authors' layout), or a "
                             'file written by mmvit export')
    parser.add_argument('--out', type=output_of)
    parser.add_argument('--show', action='store_true')
    parser.add_argument('--show-dir', metavar='FOLDER')
    parser.add_argument('--wait-time', type=Limits(0, float('inf'), is_whole=False))
    parser.add_argument('--tta', action='store_true')
    add_run_arguments(parser)
    add_fine_tuning_arguments(parser.add_argument_group('a network that was trained on a folder'),
                              ['class_folder', 'coco_folder', 'seg_folder', 'size'])
    return with_help(parser, 'running.prepare.prepare_test', 'recipes.folder.test_on',
                     'running.openmmlab_scripts.testing_config', 'running.openmmlab_scripts.training_config',
                     'running.openmmlab_scripts.shorthand_options')


def output_of(path: str) -> str:
    return output_file(path) if path.endswith(('.pkl', '.pickle')) else output_folder(path)


def run(args: Namespace) -> None:
    from .processes import launch
    launch(args, lambda processes: nullcontext(prepare(args)), partial(go, args))


def prepare(args: Namespace) -> 'Config':
    """Returns the finished config of a test."""
    from ..recipes import test_on
    from ..running import shorthand_options, testing_config
    from ..running.prepare import prepare_test
    options = {'checkpoint': None, **given_to(testing_config, args), **given_to(shorthand_options, args)}
    data = {name: value for name, value in given_to(test_on, args).items() if name != 'out'}
    check_options(args, data)
    return prepare_test(**options, with_data=partial(test_on, **data) if data else None, check=args.check)


def check_options(args: Namespace, data: dict[str, Any]) -> None:
    """Raises UsageError if options cannot be combined, or need the model in PyTorch, and an exported file is tested."""
    from mmvit_backbones.errors import UsageError

    from ..naming import kind_of
    if args.data_root and (folders := [name for name in data if name.endswith('_folder')]):
        raise UsageError(f'--data-root={args.data_root} cannot be combined with --{folders[0].replace("_", "-")}')
    if kind_of(args.checkpoint or args.config) == 'exported':
        wanted: dict[str, Any] = {name: getattr(args, name) for name in ('tta', 'show', 'show_dir', 'size', 'seed')}
        wanted['processes'] = args.processes or args.launcher != 'none'
        wanted |= {f'cfg_options {key}': True for key in args.cfg_options or () if '.pipeline' in key
                   or key.partition('.')[0] not in ('custom_imports', 'test_dataloader', 'test_evaluator')}
        if given := [name for name, value in wanted.items() if value is not None and value is not False]:
            raise UsageError(f'--{given[0].replace("_", "-", 1)} needs a checkpoint, got the exported file '
                             f'{args.checkpoint or args.config}, which has its model and image size')


def go(args: Namespace, cfg: 'Config') -> None:
    """Tests a checkpoint or an exported file, and prints the metrics."""
    from ..inference import Predictor, evaluate
    from ..naming import kind_of
    from ..running import test
    from ..utils.distributed import is_first_process
    from ..utils.tables import show_metrics
    if kind_of(cfg.load_from) == 'exported':
        model = Predictor(cfg.load_from)
        show_metrics(evaluate(cfg, model.model.run, model.classes, cfg.load_from))
    else:
        test(cfg, verbose=args.verbose)
    if args.out and is_first_process():
        print(f'predictions: {args.out}')
