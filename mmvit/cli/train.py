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
    new_parser,
    positive,
    positive_or_auto,
    seed,
    whole,
)
from .docstrings import with_help

if TYPE_CHECKING:
    from mmengine.config import Config

PRECISIONS = dict(amp='float16', bf16='bfloat16', no_amp='float32')  # option -> precision of a recipe
# Options of a network and a folder, and the key of a config that sets the same.
RECIPE_OPTIONS = dict(
    class_folder='train_dataloader.dataset', coco_folder='train_dataloader.dataset',
    seg_folder='train_dataloader.dataset', val_fraction='train_dataloader.dataset',
    split_seed='train_dataloader.dataset',
    boxes_only='model.type', size='train_dataloader.dataset.pipeline', epochs='train_cfg.max_epochs',
    iters='train_cfg.max_iters', batch_size='train_dataloader.batch_size', lr='optim_wrapper.optimizer.lr',
    early_stop='custom_hooks', ema='custom_hooks', light='model.roi_head',
    freeze='model.backbone.frozen_stages', pretrained='model.backbone.init_cfg',
    no_pretrained='model.backbone.init_cfg', no_amp='optim_wrapper.type')


def add_recipe_arguments(parser: ArgumentParser) -> None:
    """Adds the options of a network and a folder."""
    group = parser.add_argument_group('a network and a folder')
    add_folder_arguments(group)
    group.add_argument('--boxes-only', '--boxes', action='store_true')
    add_size_argument(group, is_square=False)
    length = group.add_mutually_exclusive_group()
    length.add_argument('--epochs', type=positive)
    length.add_argument('--iters', type=positive)
    group.add_argument('--batch-size', type=positive_or_auto, metavar='N')
    group.add_argument('--lr', type=above_zero, metavar='RATE')
    group.add_argument('--early-stop', type=positive, metavar='N')
    group.add_argument('--ema', action='store_true')
    group.add_argument('--light', action='store_true')
    group.add_argument('--freeze', type=whole(0), metavar='N')
    weights = group.add_mutually_exclusive_group()
    weights.add_argument('--pretrained', metavar='WEIGHTS',
                         help='other weights than the published ones: a tag such as 22k, a file, a URL or a name such '
                              'as timm://NAME')
    weights.add_argument('--no-pretrained', action='store_true', help='start from random weights')


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', metavar='CONFIG_OR_NETWORK',
                        help='config file, the name of a config in this package, or a name from mmvit models, '
                             'resnet50 or timm:NAME, with a folder')
    parser.add_argument('--resume', nargs='?', const='auto', default=False, metavar='CHECKPOINT',
                        help='resume from this checkpoint (default: the last one in the work dir, if there is one)')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--amp', action='store_true')
    precision.add_argument('--bf16', action='store_true')
    precision.add_argument('--no-amp', action='store_true',
                           help='for a network and a folder: train in float32 on a GPU, too (default: float16)')
    parser.add_argument('--auto-scale-lr', action='store_true')
    add_run_arguments(parser)
    parser.add_argument('--seed', type=seed, help='short for --cfg-options randomness.seed=SEED')
    parser.add_argument('--data-root', metavar='FOLDER')
    parser.add_argument('--tensorboard', action='store_true')
    parser.add_argument('--wandb', action='store_true')
    parser.add_argument('--strategy', choices=['ddp', 'fsdp'], default='ddp',
                        help='ddp replicates the weights in all processes (default); fsdp shards them')
    add_recipe_arguments(parser)
    return with_help(parser, 'running.config.training_config', 'running.config.shorthand_options',
                     'recipes.folder.fine_tune')


def run(args: Namespace) -> None:
    from ..running import train
    from .processes import connected, number_of_nodes, start
    if args.processes and number_of_nodes() > 1:  # only the processes of all machines can agree on a recipe
        start(args.command, args.processes)
        return
    with connected(args) as processes:
        config, recipe = processes.of_first(lambda: prepare(args, processes.number))
        cfg = processes.all_succeed(lambda: checked(args, config, recipe, processes.number))
        if args.check:
            if processes.rank == 0:
                print('ok')
            return
        if args.processes:
            start(run_arguments(args, config), args.processes)
            return
        runner = train(cfg, verbose=args.verbose)
    if runner.rank == 0:
        print(*next_commands(runner.work_dir), sep='\n')


def checked(args: Namespace, config: str, recipe: str | None, processes: int) -> 'Config':
    """Returns the finished config of a run after checking what this process will use.

    Args:
        args (Namespace): The options.
        config (str): The config.
        recipe (str | None): Its text, if the first process has written it.
        processes (int): Number of processes.
    """
    from mmvit_backbones.errors import UsageError

    from ..running import check_run, training_config
    from ..running.work_dir import lock_work_dir
    from ..utils.distributed import is_first_process
    from .processes import CHECKED
    if recipe is not None and not (osp.isfile(config) and Path(config).read_text(encoding='utf-8') == recipe):
        raise UsageError(f'the work dir must be shared by all machines, but {config}, which the first process has '
                         f'written, is not on {socket.gethostname()} in {os.getcwd()}; set another --work-dir')
    cfg = training_config(
        config, work_dir=args.work_dir, resume=args.resume, amp=args.amp, auto_scale_lr=args.auto_scale_lr,
        cfg_options=args.cfg_options, launcher=args.launcher, seed=args.seed, data_root=args.data_root,
        bf16=args.bf16, tensorboard=args.tensorboard, wandb=args.wandb, strategy=args.strategy)
    check_run(cfg, takes_step=args.check and is_first_process(), processes=processes,
              checks_data=recipe is None and CHECKED not in os.environ)
    if not args.check and is_first_process():
        with lock_work_dir(cfg.work_dir):  # while the other processes can still be told that another run has it
            pass
    return cfg


def next_commands(work_dir: str) -> list[str]:
    """Returns the lines that say how to use the checkpoint of a training, by its work dir."""
    from mmvit_backbones.utils.messages import short_path

    from ..utils.shell import as_typed
    folder, model = (as_typed([short_path(path)]) for path in (work_dir, osp.join(work_dir, 'model.onnx')))
    return ['next:', f'  mmvit test {folder}', f'  mmvit predict IMAGE --checkpoint {folder}',
            f'  mmvit export {folder} {model}']


def prepare(args: Namespace, processes: int) -> tuple[str, str | None]:
    """Returns the config to run; for a network and a folder its text, too, after writing and printing what it trains.

    Args:
        args (Namespace): The options.
        processes (int): Number of processes, of all machines, for which the recipe is made.
    """
    from mmengine.device import get_device

    from mmvit_backbones.errors import UsageError
    from mmvit_backbones.utils.messages import near_names
    from mmvit_backbones.zoo.variants import VARIANTS

    from ..recipes import fine_tune, save, summary
    from ..utils.config_files import is_config, named_configs
    from ..utils.devices import has_mixed_precision
    values = {name: getattr(args, name) for name in RECIPE_OPTIONS}
    given = {name: value for name, value in values.items() if value is not None and value is not False}  # 0 counts
    folders = [name for name in ('class_folder', 'coco_folder', 'seg_folder') if name in given]
    is_network = args.config in VARIANTS or args.config == 'resnet50' or args.config.startswith('timm:')
    if not folders and is_network and not is_config(args.config):
        raise UsageError(f'{args.config} is a network; its task follows from the data: pass --class-folder, '
                         '--coco-folder or --seg-folder, or the name of a config'
                         + (f', e.g. mask_rcnn_{VARIANTS[args.config].short_name}' if args.config in VARIANTS else ''))
    if not is_network:
        if not is_config(args.config) and not osp.isfile(args.config):
            raise UsageError(f'{args.config} is neither a network nor a config'
                             + near_names(args.config, VARIANTS, 'networks')
                             + near_names(args.config, named_configs(), 'configs'))
        if given:
            name = next(iter(given))
            raise UsageError(f'--{name.replace("_", "-")} is for a network and a folder, but {args.config} is a '
                             f'config; set {RECIPE_OPTIONS[name]} with --cfg-options')
        return args.config, None
    precision = next((name for option, name in PRECISIONS.items() if getattr(args, option)), None)
    if precision in ('float16', 'bfloat16') and not has_mixed_precision():
        raise UsageError(f'--{"amp" if args.amp else "bf16"}: MMEngine has no mixed precision on {get_device()}')
    cfg = fine_tune(
        args.config, size=args.size, epochs=args.epochs, iters=args.iters, batch_size=args.batch_size, lr=args.lr,
        freeze=args.freeze, pretrained=not args.no_pretrained and (args.pretrained or True), boxes_only=args.boxes_only,
        val_fraction=args.val_fraction, split_seed=args.split_seed or 0, early_stop=args.early_stop,
        ema=args.ema, light=args.light, seed=args.seed, precision=precision, processes=processes,
        work_dir=args.work_dir, **{name: given[name] for name in folders})
    path = save(cfg)
    print(*summary(cfg), f'config      {path}', sep='\n', flush=True)
    return path, cfg.text


def run_arguments(args: Namespace, config: str) -> list[str]:
    """Returns the command of the processes that run a config: that of this process, without what is for a recipe."""
    from .processes import without

    def others(parser: ArgumentParser) -> None:
        add_recipe_arguments(parser)
        parser.add_argument('--no-amp', action='store_true')

    rest = without(args.command, others)
    rest[rest.index(args.config)] = config
    return rest
