"""Finds all unusable files in a folder, or in a config's data sets, before training."""
import argparse
import sys

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils import track_parallel_progress

from ...data.checks import check_data, evaluated_files, find_problems, sample_error, uses_masks
from ...data.problems import Problem
from ...errors import UsageError
from ...utils.config import datasets_of, load_config
from ...utils.frameworks import import_quietly
from ..custom_data import data_options, use_custom_data

# A detector without masks, because annotations may have only boxes.
RECIPES = dict(class_folder='imagenet_reswin_t', coco_folder='retinanet_rest_s', seg_folder='upernet_reswin_t')


def main(args: argparse.Namespace) -> None:
    cfg, problems = read_config(args)
    check_data(cfg, args.splits, content=False)
    import_quietly(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    parts = [(split, dataset) for split in args.splits for dataset in datasets_of(cfg, split)]
    if not parts:
        raise UsageError(f'config {cfg.filename} has no data set for {" or ".join(args.splits)}')
    for split, config in parts:
        found = find_problems(config, is_evaluated=split != 'train', needs_masks=uses_masks(cfg, split))
        infos = [] if any(problem.is_error for problem in found) else read_infos(config)
        found += sample_problems(infos, args.jobs)
        for problem in found:
            if not problem.is_error:
                print(f'warning: {problem.text}')
        problems += found
    for split in args.splits:
        for config in evaluated_files(cfg, split):
            problems += find_problems(config, needs_masks=uses_masks(cfg, split))
    errors = [problem.text for problem in problems if problem.is_error]
    errors = [text for text in dict.fromkeys(errors) if not any(other in text for other in errors if other != text)]
    print(*errors, '1 error' if len(errors) == 1 else f'{len(errors)} errors', sep='\n')
    if errors:
        sys.exit(1)


def read_config(args: argparse.Namespace) -> tuple[Config, list[Problem]]:
    """Returns the config for the data, and a list of the first problem in the data folder that would stop training."""
    options, problems = data_options(args), []
    config = args.config or next((recipe for name, recipe in RECIPES.items() if options.get(name)), None)
    if config is None:
        raise UsageError('pass a config, --class-folder, --coco-folder or --seg-folder')
    cfg = load_config(config, args.cfg_options)
    try:
        use_custom_data(cfg, **options)
    except UsageError as error:
        problems.append(Problem(str(error), True))
        cfg = load_config(config, args.cfg_options)
        # This call raises the error again if the folder has no usable data set.
        use_custom_data(cfg, **options, content=False)
    return cfg, problems


def read_infos(config: dict) -> list[tuple[dict, int]]:
    """Returns each entry of a data set together with the number of classes."""
    dataset = DATASETS.build(dict(config, pipeline=[]))
    classes = dataset.metainfo.get('classes') or ()
    return [(dataset.get_data_info(index), len(classes)) for index in range(len(dataset))]


def sample_problems(infos: list[tuple[dict, int]], jobs: int) -> list[Problem]:
    if not infos:
        return []
    checked = track_parallel_progress(sample_error, infos, jobs, chunksize=8, file=sys.stderr)
    return [Problem(error, True) for error in checked if error]
