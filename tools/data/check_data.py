"""Finds all unusable files of a config's data sets before training.

    python tools/data/check_data.py configs/mask_rcnn_reswin_t.py --jobs 8
    python tools/data/check_data.py configs/mask_rcnn_reswin_t.py --coco-folder data/coco_mini

Reads all images, segmentation masks and annotations. Prints one line per error and per kind of
warning; the exit code is 1 if there are errors.
"""
import argparse
import sys
from pathlib import Path

from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils import track_parallel_progress

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import SPLITS, datasets_of, load_config
from mmvit_backbones.utils.file_configs import import_quietly

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common.command_line import add_config_options, add_data_arguments, data_options, run_script  # noqa: E402
from common.custom_data import use_custom_data  # noqa: E402
from common.data_checks import check_data, find_mistakes, sample_error  # noqa: E402


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('--splits', nargs='+', choices=SPLITS, default=['train', 'val'], help='default: train val')
    parser.add_argument('--jobs', type=int, default=4, help='processes (default: %(default)s)')
    add_data_arguments(parser)
    add_config_options(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    if args.jobs < 1:
        raise UsageError(f'--jobs is {args.jobs}; allowed is a whole number from 1')
    use_custom_data(cfg, **data_options(args))
    check_data(cfg, args.splits, content=False)
    import_quietly(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    datasets = [dataset for split in args.splits for dataset in datasets_of(cfg, split)]
    if not datasets:
        raise UsageError(f'config {args.config} has no data set for {" or ".join(args.splits)}')
    errors = []
    for config in datasets:
        found, warnings = find_mistakes(config)
        print(*(f'warning: {warning}\n' for warning in warnings), sep='', end='')
        if not found:
            dataset = DATASETS.build(dict(config, pipeline=[]))
            classes = dataset.metainfo.get('classes') or ()
            samples = [(dataset.get_data_info(index), len(classes)) for index in range(len(dataset))]
            checked = track_parallel_progress(sample_error, samples, args.jobs, chunksize=8, file=sys.stderr)
            found = [error for error in checked if error]
        errors += found
    print(*errors, f'{len(errors)} mistakes', sep='\n')
    if errors:
        sys.exit(1)


if __name__ == '__main__':
    run_script(get_parser(), main)
