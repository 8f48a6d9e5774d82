"""Finds all unusable files in a folder, or in a config's data sets, before training.

    mmvit data check --coco-folder data/coco_mini
    mmvit data check mask_rcnn_reswin_t --jobs 8

All annotations are read and, if those of a data set have no errors, all its images and segmentation masks. The output
has one line per error and per kind of warning; the exit code is 1 if there are errors. --out draws six images, those
with the most mistakes first, with boxes and masks.
"""
import argparse
import os
import os.path as osp
import sys
from collections import Counter, defaultdict
from textwrap import fill, shorten

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils import track_parallel_progress

from ...data.checks import check_data, coco_paths, find_mistakes, is_coco, sample_error
from ...data.coco import forget_files, read_coco
from ...data.drawing import Sample, draw_sample, samples_of_coco
from ...data.mistakes import Mistake
from ...errors import UsageError
from ...utils.config import SPLITS, datasets_of, load_config
from ...utils.file_configs import import_quietly
from ...utils.text import printable
from ..arguments import add_config_options, add_data_arguments, data_options, whole
from ..custom_data import use_custom_data
from ..figures import draw_sheet, figure_file

DRAWN, COLUMNS = 6, 3
TITLE = 74  # characters per line of a title
WEIGHT = 10**6  # an error weighs more than any number of warnings
# A detector without masks, because annotations may have only boxes.
RECIPES = dict(class_folder='imagenet_reswin_t', coco_folder='retinanet_rest_s', seg_folder='upernet_reswin_t')


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?',
                        help='config file, or the name of a config in this package (default: a config that fits the '
                             'custom data)')
    parser.add_argument('--splits', nargs='+', choices=SPLITS, default=['train', 'val'],
                        help='splits to check (default: train val)')
    parser.add_argument('--jobs', type=whole(1, 1024), default=4, help='number of processes (default: %(default)s)')
    parser.add_argument('--out', type=figure_file, metavar='FILE',
                        help=f'draw the {DRAWN} images with the most mistakes, with boxes and masks')
    add_data_arguments(parser)
    add_config_options(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    cfg, mistakes = read_config(args)
    check_data(cfg, args.splits, content=False)
    import_quietly(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    parts = [(split, dataset) for split in args.splits for dataset in datasets_of(cfg, split)]
    if not parts:
        raise UsageError(f'config {cfg.filename} has no data set for {" or ".join(args.splits)}')
    samples = []
    for split, config in parts:
        found = find_mistakes(config, is_evaluated=split != 'train')
        infos = [] if any(mistake.is_error for mistake in found) else read_infos(config)
        found += sample_mistakes(infos, args.jobs)
        for mistake in found:
            if not mistake.is_error:
                print(f'warning: {printable(mistake.text)}')
        mistakes += found
        if args.out:
            samples += drawable_samples(config, infos)
        forget_files()
    errors = [mistake.text for mistake in mistakes if mistake.is_error]
    errors = [text for text in dict.fromkeys(errors) if not any(other in text for other in errors if other != text)]
    print(*map(printable, errors), '1 error' if len(errors) == 1 else f'{len(errors)} errors', sep='\n')
    if args.out:
        draw(samples, mistakes, args.out)
    if errors:
        sys.exit(1)


def read_config(args: argparse.Namespace) -> tuple[Config, list[Mistake]]:
    """Returns the config for the data, and a list of the first mistake in the data folder that would stop training."""
    options, mistakes = data_options(args), []
    config = args.config or next((recipe for name, recipe in RECIPES.items() if options.get(name)), None)
    if config is None:
        raise UsageError('pass a config, --class-folder, --coco-folder or --seg-folder')
    cfg = load_config(config, args.cfg_options)
    try:
        use_custom_data(cfg, **options)
    except UsageError as error:
        mistakes.append(Mistake(str(error), True))
        cfg = load_config(config, args.cfg_options)
        # This call raises the error again if the folder has no usable data set.
        use_custom_data(cfg, **{**options, 'allow_left_out': True}, content=False)
    return cfg, mistakes


def read_infos(config: dict) -> list[tuple[dict, int]]:
    """Returns each entry of a data set together with the number of classes."""
    dataset = DATASETS.build(dict(config, pipeline=[]))
    classes = dataset.metainfo.get('classes') or ()
    return [(dataset.get_data_info(index), len(classes)) for index in range(len(dataset))]


def sample_mistakes(infos: list[tuple[dict, int]], jobs: int) -> list[Mistake]:
    if not infos:
        return []
    checked = track_parallel_progress(sample_error, infos, jobs, chunksize=8, file=sys.stderr)
    return [Mistake(error, True, (info['img_path'], )) for error, (info, _) in zip(checked, infos) if error]


def drawable_samples(config: dict, infos: list[tuple[dict, int]]) -> list[Sample]:
    if not is_coco(config):
        return [Sample(info['img_path'], [], info.get('seg_map_path')) for info, _ in infos if 'img_path' in info]
    file, folder = coco_paths(config)
    try:
        return samples_of_coco(read_coco(file), folder)
    except UsageError:  # find_mistakes has already reported the error
        return []


def draw(samples: list[Sample], mistakes: list[Mistake], path: str) -> None:
    """Draws up to ``DRAWN`` images: first those with the most errors, then the most warnings, then the others."""
    counts, texts = Counter(), defaultdict(dict)
    for mistake in sorted(mistakes, key=lambda mistake: not mistake.is_error):
        for image in mistake.images:
            counts[osp.abspath(image)] += WEIGHT if mistake.is_error else 1
            texts[osp.abspath(image)][mistake.text] = None
    others = samples[::max(1, len(samples) // DRAWN)]
    rest = [sample for sample in others if not counts[osp.abspath(sample.image)]]
    worst = sorted((sample for sample in samples if counts[osp.abspath(sample.image)]),
                   key=lambda sample: -counts[osp.abspath(sample.image)])
    chosen = [*worst, *rest][:DRAWN]
    if not chosen:
        print('no image can be drawn: there are no image files with readable annotations')
        return
    drawings = []
    for sample in chosen:
        place = osp.abspath(sample.image)
        title = '/'.join(place.split(os.sep)[-3:])
        lines = [short_lines(text) for text in texts.get(place, ['no mistake found'])]
        drawings.append((draw_sample(sample), '\n'.join([printable(title), *lines[:2]])))
    draw_sheet(drawings, path, columns=COLUMNS, size=(5, 5.5))
    number = min(len(worst), DRAWN)
    print(f'images drawn: {len(chosen)}, with mistakes: {number} -> {path}')


def short_lines(text: str) -> str:
    """Shortens a text for a title and reduces paths to file names."""
    words = ' '.join(osp.basename(word) or word for word in printable(text).split())
    return fill(shorten(words, 2 * TITLE - 12, placeholder=' ...'), TITLE)
