"""Trains the classifier, detector or segmenter of a config, or fine-tunes a network on a folder.

    mmvit train mask_rcnn_reswin_t --data-root data/coco
    mmvit train configs/upernet_reswin_t.py --processes 8 --amp
    mmvit train reswin_tiny --coco-folder FOLDER --size 512 --epochs 50

A config runs as the scripts of mmdet, mmseg and mmpretrain run it, with their options. A network and a folder become a
config, which is saved in the work dir and then runs in the same way.
"""
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from .arguments import (
    above_zero,
    add_folder_arguments,
    add_run_arguments,
    add_size_argument,
    given_to,
    new_parser,
    positive,
    positive_or_auto,
    seed,
    stages_or_all,
)
from .docstrings import with_help

if TYPE_CHECKING:
    from ..running.runner import AnyRunner

# Options of a network and a folder, and the arguments of the parser for them.
RECIPE = {
    '--boxes-only --boxes': dict(action='store_const', const=True),
    '--epochs': dict(type=positive),
    '--iters': dict(type=positive),
    '--batch-size': dict(type=positive_or_auto, metavar='N'),
    '--accumulate': dict(type=positive, metavar='N'),
    '--lr': dict(type=above_zero, metavar='RATE'),
    '--early-stop': dict(type=positive, metavar='N'),
    '--ema': dict(action='store_const', const=True),
    '--light': dict(action='store_const', const=True),
    '--freeze': dict(type=stages_or_all, metavar='N'),
    '--pretrained': dict(
        metavar='WEIGHTS', help='other weights than the published ones: a tag, a file, a URL or timm://NAME'),
    '--prefix': dict(help='prefix of the names in the file of --pretrained')}


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='CONFIG_OR_NETWORK',
                        help='config file, the name of a config in this package, or a name from mmvit models, '
                             'resnet50 or timm:NAME, with a folder; with --resume, also the work dir of a training')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='resume from this checkpoint (default: the last one in the work dir, if there is one; for '
                             'a network and a folder, in the newest of their work dirs)')
    precision = parser.add_mutually_exclusive_group()
    for option, name, text in (
            ('--amp', 'float16', 'train in mixed precision, float16'),
            ('--bf16', 'bfloat16', 'train in mixed precision, bfloat16'),
            ('--no-amp', 'float32', 'for a network and a folder: train in float32 on a GPU, too (default: float16)')):
        precision.add_argument(option, dest='precision', action='store_const', const=name, help=text)
    parser.add_argument('--compile', action='store_const', const=True)
    parser.add_argument('--auto-scale-lr', action='store_true')
    add_run_arguments(parser)
    parser.add_argument('--seed', type=seed, help='short for --cfg-options randomness.seed=SEED')
    parser.add_argument('--data-root', metavar='FOLDER')
    parser.add_argument('--tensorboard', action='store_true')
    parser.add_argument('--wandb', action='store_true')
    group = parser.add_argument_group('a network and a folder')
    add_folder_arguments(group)
    add_size_argument(group, is_square=False)
    length, weights = group.add_mutually_exclusive_group(), group.add_mutually_exclusive_group()
    places = {'--epochs': length, '--iters': length, '--pretrained': weights}
    for names, options in RECIPE.items():
        places.get(names, group).add_argument(*names.split(), **options)
    weights.add_argument('--no-pretrained', dest='pretrained', action='store_const', const=False,
                         help='start from random weights')
    return with_help(parser, 'configs.scripts.training_config', 'configs.scripts.shorthand_options',
                     'recipes.folder.fine_tune')


def run(args: Namespace) -> None:
    from ..recipes import fine_tune, recipe_of
    from ..running import shorthand_options, train, training_config
    from ..running.prepare import prepared_training
    from ..running.ranks import started_by
    from ..utils.distributed import is_first_process
    from .processes import check_start, number_of_nodes, start, unfinished

    options = {**given_to(training_config, args), **given_to(shorthand_options, args)}
    if args.prepared:  # one of the processes that --processes starts
        config, work_dir = args.prepared
        if config != args.config:  # a recipe, which has the precision
            options.pop('precision', None)
        with started_by(args.launcher):
            say_next(train(training_config(**{**options, 'config': config, 'work_dir': work_dir}), args.verbose))
        return
    recipe = recipe_of(args.config, given_to(fine_tune, args), options)
    if args.launcher != 'none':
        with started_by(args.launcher, args.local_rank) as processes:
            if recipe:
                raise unfinished(args.command, *recipe.place(args.work_dir), processes, ['--launcher', args.launcher])
            if not args.check or is_first_process():
                with prepared_training(**options, processes=processes, check=args.check) as run:
                    print('ok') if args.check else say_next(train(run.cfg, args.verbose))
        return
    nodes = number_of_nodes() if args.processes else 1
    if args.processes and not args.check:
        check_start(args.processes)
        if recipe and nodes > 1:
            starter = ['--processes', str(args.processes)]
            raise unfinished(args.command, *recipe.place(args.work_dir), args.processes, starter)
    with prepared_training(**options, recipe=recipe, processes=nodes * (args.processes or 1), check=args.check) as run:
        if args.check:
            print('ok')
        elif args.processes:
            moved = ['--data-root', run.data_root] if run.data_root else []
            start(args.command, args.processes, ['--prepared', run.config, run.cfg.work_dir, *moved])
        else:
            say_next(train(run.cfg, args.verbose))


def say_next(runner: 'AnyRunner') -> None:
    """Prints what comes after a training."""
    from ..utils.shell import next_commands
    if runner.rank == 0:
        print(*next_commands(runner.work_dir), sep='\n')
