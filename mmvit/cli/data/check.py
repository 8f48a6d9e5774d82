"""Finds all unusable files in a folder, or in a config's data sets, before training.

    mmvit data check --coco-folder data/coco_mini
    mmvit data check mask_rcnn_reswin_t --splits val

All annotations are read and, if those of a data set have no errors, all its images and segmentation masks. The output
has one line per error and per kind of warning; the exit code is 1 if there are errors.
"""
import sys
from argparse import ArgumentParser, Namespace

from ..arguments import add_config_options, add_fine_tuning_arguments, given_options, new_parser
from ..docstrings import with_help

FOLDERS = 'class_folder', 'coco_folder', 'seg_folder'
OF_FOLDERS, OF_CONFIGS = ('val_fraction', 'split_seed', 'boxes_only'), ('data_root', 'cfg_options')  # options


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', nargs='?', help='config file, or the name of a config in this package')
    parser.add_argument('--splits', nargs='+', choices=('train', 'val', 'test'), default=['train', 'val'])
    add_fine_tuning_arguments(parser, [*FOLDERS, *OF_FOLDERS])
    parser.add_argument('--data-root', metavar='FOLDER')
    add_config_options(parser)
    return with_help(parser, 'running.data_set_files.folder_problems', 'running.openmmlab_scripts.shorthand_options',
                     'fine_tuning.FineTuning')


def run(args: Namespace) -> None:
    from mmvit_backbones.errors import UsageError

    from ...configs.files import merge_options, read_config
    from ...running import shorthand_options
    from ...running.data_set_files import config_problems, errors_and_warnings, folder_problems
    if any(getattr(args, name) for name in FOLDERS) == bool(args.config):
        raise UsageError('pass either a config or one of --class-folder, --coco-folder and --seg-folder')
    kind, other, wrong = ('config', 'folder', OF_FOLDERS) if args.config else ('folder', 'config', OF_CONFIGS)
    if given := [name for name in wrong if getattr(args, name) is not None]:
        raise UsageError(f'--{given[0].replace("_", "-")} cannot be used with a {kind}, only with a {other}')
    if args.config:
        cfg = read_config(args.config)
        merge_options(cfg, {**shorthand_options(cfg, data_root=args.data_root), **(args.cfg_options or {})})
        problems = config_problems(cfg, args.splits)
    elif 'test' in args.splits:
        raise UsageError('--splits of a folder must be train, val or both, got test')
    else:
        problems = folder_problems(**given_options(args))
    errors, warnings = errors_and_warnings(problems)
    print(*(f'warning: {text}' for text in warnings), *errors,
          '1 error' if len(errors) == 1 else f'{len(errors)} errors', sep='\n')
    if errors:
        sys.exit(1)
