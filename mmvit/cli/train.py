"""Trains the classifier, detector or segmenter of a config, or fine-tunes a network on a folder.

    mmvit train mask_rcnn_reswin_t --data-root data/coco
    mmvit train configs/upernet_reswin_t.py --processes 8 --amp
    mmvit train reswin_tiny --coco-folder FOLDER --size 512 --epochs 50

A config runs as the scripts of mmdet, mmseg and mmpretrain run it, with their options. A network and a folder become a
config, which is saved in the work dir and then runs in the same way.
"""
import os
import os.path as osp
import socket
from argparse import ArgumentParser, Namespace
from pathlib import Path
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
    from mmengine.config import Config

# Options of a network and a folder: the key of a config that sets the same, and the arguments of the parser.
RECIPE = {
    '--boxes-only --boxes': ('model.type', dict(action='store_const', const=True)),
    '--epochs': ('train_cfg.max_epochs and the ends of param_scheduler', dict(type=positive)),
    '--iters': ('train_cfg.max_iters and the ends of param_scheduler', dict(type=positive)),
    '--batch-size': ('train_dataloader.batch_size', dict(type=positive_or_auto, metavar='N')),
    '--accumulate': ('optim_wrapper.accumulative_counts', dict(type=positive, metavar='N')),
    '--lr': ('optim_wrapper.optimizer.lr', dict(type=above_zero, metavar='RATE')),
    '--early-stop': ('custom_hooks', dict(type=positive, metavar='N')),
    '--ema': ('custom_hooks', dict(action='store_const', const=True)),
    '--light': ('model.roi_head', dict(action='store_const', const=True)),
    '--freeze': ('model.backbone.frozen_stages', dict(type=stages_or_all, metavar='N')),
    '--pretrained': ('model.backbone.init_cfg', dict(
        metavar='WEIGHTS', help='other weights than the published ones: a tag, a file, a URL or timm://NAME')),
    '--prefix': ('model.backbone.init_cfg.prefix', dict(help='prefix of the names in the file of --pretrained'))}


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='CONFIG_OR_NETWORK',
                        help='config file, the name of a config in this package, or a name from mmvit models, '
                             'resnet50 or timm:NAME, with a folder')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='resume from this checkpoint (default: the last one in the work dir, if there is one)')
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
    for names, (_, options) in RECIPE.items():
        places.get(names, group).add_argument(*names.split(), **options)
    weights.add_argument('--no-pretrained', dest='pretrained', action='store_const', const=False,
                         help='start from random weights')
    return with_help(parser, 'configs.scripts.training_config', 'configs.scripts.shorthand_options',
                     'recipes.folder.fine_tune')


def run(args: Namespace) -> None:
    from ..running import train
    from ..utils.shell import next_commands
    from .processes import run_together

    def go(cfg: 'Config') -> None:
        runner = train(cfg, verbose=args.verbose)
        if runner.rank == 0:
            print(*next_commands(runner.work_dir), sep='\n')

    run_together(args, lambda processes: prepare(args, processes), lambda prepared: finish(args, *prepared), go)


def prepare(args: Namespace, processes: int) -> tuple[str, str | None]:
    """Returns the config to run, and that of a recipe as text, too, after checking what the run will use.

    Args:
        args (Namespace): The options.
        processes (int): Number of processes, of all machines, for which the recipe is made.
    """
    from ..recipes import save, summary
    from ..running import check_run
    from ..running.rehearsal import rehearse
    from ..running.work_dir import lock_work_dir
    config, text = args.config, None
    if recipe := recipe_of(args, processes):
        config, text = save(recipe), recipe.text
        print(*summary(recipe), f'config      {config}', sep='\n', flush=True)
    cfg = finish(args, config, text)
    check_run(cfg, checks_data=text is None)
    if args.check:
        rehearse(cfg)
    else:
        with lock_work_dir(cfg.work_dir):  # while the other processes can still be told that another run has it
            pass
    return config, text


def finish(args: Namespace, config: str, text: str | None) -> 'Config':
    """Returns the finished config of a run; ``text`` is that of a recipe, which the first process has written."""
    from mmvit_backbones.errors import UsageError

    from ..running import shorthand_options, training_config
    if text is not None and not (osp.isfile(config) and Path(config).read_text(encoding='utf-8') == text):
        raise UsageError(f'the work dir must be shared by all machines, but {config}, which the first process has '
                         f'written, is not on {socket.gethostname()} in {os.getcwd()}; set another --work-dir')
    options = {**given_to(training_config, args), **given_to(shorthand_options, args), 'config': config}
    if text is not None:
        options.pop('precision', None)  # the recipe has it
    return training_config(**options)


def recipe_of(args: Namespace, processes: int) -> 'Config | None':
    """Returns the config of a network and a folder, or of a recipe with other arguments; None to run a config as it is.

    Raises:
        UsageError: If the name is neither a network nor a config, or an option is for the other.
    """
    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.utils.messages import near_names
    from mmvit_backbones.zoo.variants import VARIANTS

    from ..configs.files import is_config, named_configs
    from ..recipes import fine_tune, is_recipe, make_again
    from ..running import shorthand_options, training_config
    name, given = args.config, {**given_to(fine_tune, args), 'processes': processes}
    others = {**given_to(training_config, args), **given_to(shorthand_options, args), 'processes': None}
    own = [option for option in given if option not in others]
    if name in VARIANTS or name == 'resnet50' or name.startswith('timm:'):
        if not any(option.endswith('_folder') for option in own):
            example = f', e.g. mask_rcnn_{VARIANTS[name].short_name}' if name in VARIANTS else ''
            raise UsageError(f'{name} is a network; its task follows from the data: pass --class-folder, --coco-folder '
                             f'or --seg-folder, or the name of a config{example}')
        if args.data_root:
            raise UsageError('--data-root is for a config; a network is trained on a folder')
        make = fine_tune
    elif not is_config(name) and not osp.isfile(name):
        raise UsageError(f'{name} is neither a network nor a config' + near_names(name, VARIANTS, 'networks')
                         + near_names(name, named_configs(), 'configs'))
    elif own and is_recipe(name):
        make = make_again
    elif own:
        option = f'--{own[0].replace("_", "-")}'
        key = next((key for names, (key, _) in RECIPE.items() if option in names.split()), 'train_dataloader.dataset')
        raise UsageError(f'{"--no-pretrained" if args.pretrained is False else option} is for a network and a folder, '
                         f'but {name} is a config; set {key} with --cfg-options')
    else:
        return None
    check_precision(args.precision)
    return make(name, **given)


def check_precision(precision: str | None) -> None:
    """Raises UsageError if a recipe would be made for mixed precision where MMEngine has none."""
    from mmengine.device import get_device

    from mmvit_backbones.errors import UsageError

    from ..utils.devices import has_mixed_precision
    if precision in ('float16', 'bfloat16') and not has_mixed_precision():
        option = '--amp' if precision == 'float16' else '--bf16'
        raise UsageError(f'{option}: MMEngine has no mixed precision on {get_device()}')
