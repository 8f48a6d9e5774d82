"""Trains the classifier, detector or segmenter of a config, or fine-tunes a network on a folder.

    mmvit train mask_rcnn_reswin_t --data-root data/coco
    mmvit train configs/upernet_reswin_t.py --processes 8 --amp
    mmvit train reswin_tiny --coco-folder FOLDER --size 512 --epochs 50

A config runs as the scripts of mmdet, mmseg and mmpretrain run it, with their options, and one of another package by
MMEngine's defaults. A network and a folder become a config, which is saved in the work dir and then runs in the same
way.
"""
import os.path as osp
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from ..fine_tuning import OPTIONS, FineTuning
from ..frameworks.tasks import FRAMEWORKS
from ..naming import list_kinds
from .arguments import add_fine_tuning_arguments, add_run_arguments, given_to, new_parser
from .docstrings import with_help

if TYPE_CHECKING:
    from mmengine.config import Config

def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='CONFIG_OR_NETWORK',
                        help=f'{list_kinds("train")}: a name from mmvit models, resnet50 or timm:NAME, with a folder; '
                             'a config file, or the name of a config in this package; or a work dir with --resume')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='resume from this checkpoint (default: the last one in the work dir, if there is one)')
    precision = parser.add_mutually_exclusive_group()
    for option, name, text in (
            ('--amp', 'float16', 'train in mixed precision: float16, or the optim_wrapper.dtype that a config sets'),
            ('--bf16', 'bfloat16', 'train in mixed precision, bfloat16'),
            ('--no-amp', 'float32', 'train in float32; on GPUs, a network and a folder have float16 without it')):
        precision.add_argument(option, dest='precision', action='store_const', const=name, help=text)
    parser.add_argument('--compile', action='store_const', const=True)
    parser.add_argument('--auto-scale-lr', action='store_true')
    add_run_arguments(parser)
    parser.add_argument('--tensorboard', action='store_true')
    parser.add_argument('--wandb', action='store_true')
    add_fine_tuning_arguments(parser.add_argument_group('a network and a folder'), OPTIONS)
    return with_help(parser, 'running.openmmlab_scripts.training_config', 'running.openmmlab_scripts.shorthand_options',
                     'fine_tuning.FineTuning')


def run(args: Namespace) -> None:
    from ..running import shorthand_options, training_config
    from ..running.openmmlab_scripts import open_training
    from ..running.prepare import prepare_training
    from .fine_tuning import find_fine_tuning, prepare_fine_tuning
    from .processes import launch

    options = {**given_to(training_config, args), **given_to(shorthand_options, args)}
    named = given_to(FineTuning, args)
    given = find_fine_tuning(args.config, named, args.data_root, args.cfg_options or {}, args.launcher)

    def prepare(processes: int) -> AbstractContextManager:
        if given is not None:
            return prepare_fine_tuning(given, named, processes=processes, check=args.check, **options)
        run = open_training(args.config, args.work_dir, args.resume)
        options.pop('config')
        return nullcontext(prepare_training(run, processes=processes, check=args.check, given=named, **options))

    launch(args, prepare, partial(go, args))


def go(args: Namespace, cfg: 'Config') -> None:
    """Trains, and prints what comes next."""
    from ..drawing.curves import draw_curves
    from ..running import train
    from ..utils.shell import as_typed, short_path
    runner = train(cfg, args.verbose)
    if runner.rank == 0:
        folder, model = (as_typed([short_path(path)])
                         for path in (runner.work_dir, osp.join(runner.work_dir, 'model.onnx')))
        others = [f'  mmvit predict IMAGE --checkpoint {folder}', f'  mmvit export {folder} {model}']
        print(*draw_curves(cfg), 'next:', f'  mmvit test {folder}',
              *(others if cfg.default_scope in FRAMEWORKS else ()), sep='\n')
