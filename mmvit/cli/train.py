"""Trains the classifier, detector or segmenter of a config, or fine-tunes a network on a folder.

    mmvit train mask_rcnn_reswin_t --data-root data/coco
    mmvit train configs/upernet_reswin_t.py --processes 8 --amp
    mmvit train reswin_tiny --coco-folder FOLDER --size 512 --epochs 50

A config runs as the scripts of mmdet, mmseg and mmpretrain run it, with their options. A network and a folder become a
config, which is saved in the work dir and then runs in the same way.
"""
import os.path as osp
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ..configs.naming import list_kinds
from ..recipes.arguments import OPTIONS, FineTuning
from ..utils.limits import SEED
from .arguments import add_fine_tuning_arguments, add_run_arguments, given_to, new_parser
from .docstrings import with_help

if TYPE_CHECKING:
    from mmengine.config import Config

UNFINISHED = ('{{start}} takes a finished config here: the same command with --work-dir RUN --processes {{processes}} '
              '--check in place of {{start}} writes RUN/recipe/{}.py, and mmvit train with this file and {{start}} '
              'starts it')


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
            ('--no-amp', 'float32', 'for a network and a folder: train in float32 on a GPU, too (default: float16)')):
        precision.add_argument(option, dest='precision', action='store_const', const=name, help=text)
    parser.add_argument('--compile', action='store_const', const=True)
    parser.add_argument('--auto-scale-lr', action='store_true')
    add_run_arguments(parser)
    parser.add_argument('--seed', type=SEED, help='short for --cfg-options randomness.seed=SEED')
    parser.add_argument('--data-root', metavar='FOLDER')
    parser.add_argument('--tensorboard', action='store_true')
    parser.add_argument('--wandb', action='store_true')
    add_fine_tuning_arguments(parser.add_argument_group('a network and a folder'), OPTIONS)
    return with_help(parser, 'configs.openmmlab_scripts.training_config', 'configs.openmmlab_scripts.shorthand_options',
                     'recipes.arguments.FineTuning')


def run(args: Namespace) -> None:
    from dataclasses import replace

    from ..recipes.command import find_fine_tuning, find_moved, name_base, write_recipe
    from ..running import shorthand_options, training_config
    from ..running.prepare import Prepared, prepare_training
    from ..running.ranks import started_by
    from ..running.work_dir import holds_training, reserve_work_dir
    from .processes import launch

    options = {**given_to(training_config, args), **given_to(shorthand_options, args)}
    if args.prepared:  # one of the processes that --processes starts
        config, _, work_dir = args.prepared
        if config != args.config:  # a recipe, which has the precision
            options.pop('precision', None)
        with started_by(args.launcher):
            go(args, training_config(**{**options, 'config': config, 'work_dir': work_dir}))
        return
    named = given_to(FineTuning, args)
    given = find_fine_tuning(args.config, named, args.data_root, args.cfg_options or {})

    @contextmanager
    def prepare(processes: int) -> Iterator[Prepared]:
        if given is None:
            yield prepare_training(**options, processes=processes, check=args.check)
            return
        work_dir = args.work_dir or name_base(given)
        with reserve_work_dir(work_dir, args.resume or False):
            is_new = not holds_training(work_dir)
            if is_new:
                own = dict(config=write_recipe(replace(given, work_dir=work_dir, processes=processes),
                                               options.get('cfg_options') or {}), cfg_options=None)
            else:
                own = dict(config=work_dir, **find_moved({**named, 'network': args.config}, given.data[1], work_dir))
            yield prepare_training(**{**options, 'precision': None, 'work_dir': work_dir, **own}, processes=processes,
                                   check=args.check, checks_data=not is_new)  # the recipe has the precision

    launch(args, prepare, partial(go, args), UNFINISHED.format(osp.basename(name_base(given))) if given else '')


def go(args: Namespace, cfg: 'Config') -> None:
    """Trains, and prints what comes next."""
    from ..drawing.curves import draw_curves
    from ..running import train
    from ..utils.shell import next_commands
    runner = train(cfg, args.verbose)
    if runner.rank == 0:
        print(*draw_curves(cfg), *next_commands(runner.work_dir), sep='\n')
