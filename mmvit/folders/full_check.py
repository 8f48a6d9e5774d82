"""Finds all problems in the data of a folder or a config, by reading every annotation, image and mask."""
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.utils import track_parallel_progress

from mmvit_backbones.errors import UsageError

from ..utils.config import datasets_of
from ..utils.frameworks import import_quietly
from . import FOLDERS
from .checks import check_data, evaluated_files, find_problems, sample_error, uses_masks
from .folders import one_folder
from .problems import Problem


def folder_problems(*, class_folder: str | os.PathLike | None = None, coco_folder: str | os.PathLike | None = None,
                    seg_folder: str | os.PathLike | None = None, val_fraction: float | None = None,
                    split_seed: int = 0, boxes_only: bool = False, splits: Sequence[str] = ('train', 'val'),
                    jobs: int = 4) -> list[Problem]:
    """Returns all problems in a folder of data, as a training finds them, and those in each image and mask.

    Args:
        class_folder, coco_folder, seg_folder (str | PathLike | None): The folder; exactly one.
        val_fraction (float | None): Fraction of the images for validation, if the folder has no split.
        split_seed (int): Seed of the split by ``val_fraction``. Defaults to 0.
        boxes_only (bool): Whether to ignore the masks of a detector's objects. Defaults to False.
        splits (Sequence[str]): Parts whose images are read: 'train', 'val' or both. Defaults to both.
        jobs (int): Number of processes. Defaults to 4.

    Raises:
        UsageError: If there is not exactly one folder, or its layout or annotations cannot be read.
    """
    key, folder = one_folder(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    if boxes_only and key != 'coco_folder':
        raise UsageError(f'boxes_only (--boxes-only) requires coco_folder, got {key}')
    framework, read = FOLDERS[key]
    options, problems = dict(val_fraction=val_fraction, split_seed=split_seed), []
    of_boxes = dict(boxes_only=True) if key == 'coco_folder' else {}
    printed, warned = StringIO(), StringIO()
    try:
        with redirect_stdout(printed), redirect_stderr(warned):
            data = read(folder, **options, **(of_boxes if boxes_only else {}), check_files=key == 'seg_folder')
        sys.stdout.write(printed.getvalue())
        sys.stderr.write(warned.getvalue())
    except UsageError as error:
        problems.append(Problem(str(error), True))
        data = read(folder, **options, **of_boxes, check_files=False)  # raises the error again if no file can be read
    parts = [(dataset, split == 'val', data.has_masks) for split, dataset in (('train', data.train), ('val', data.val))
             if split in splits]
    return problems + _problems_of(framework, parts, jobs)


def config_problems(cfg: Config, splits: Sequence[str] = ('train', 'val'), jobs: int = 4) -> list[Problem]:
    """Returns all problems in the data sets of a config; of a data set without errors, also those in each file.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Any of 'train', 'val' and 'test'. Defaults to ('train', 'val').
        jobs (int): Number of processes. Defaults to 4.

    Raises:
        UsageError: If a file or folder of a data set is missing, or there is no data set.
    """
    check_data(cfg, splits, content=False)
    parts = [(dataset, split != 'train', uses_masks(cfg, split)) for split in splits
             for dataset in datasets_of(cfg, split)]
    if not parts:
        raise UsageError(f'config {cfg.filename} has no data set for {" or ".join(splits)}')
    problems = _problems_of(cfg.default_scope, parts, jobs)
    for split in splits:
        for dataset in evaluated_files(cfg, split):
            problems += find_problems(dataset, needs_masks=uses_masks(cfg, split))
    return problems


def errors_and_warnings(problems: Iterable[Problem]) -> tuple[list[str], list[str]]:
    """Returns the texts of errors and warnings, without repetitions."""
    errors, warnings = ([problem.text for problem in problems if problem.is_error is is_error]
                        for is_error in (True, False))
    errors = [text for text in dict.fromkeys(errors) if not any(other in text for other in errors if other != text)]
    return errors, list(dict.fromkeys(warnings))


def _problems_of(framework: str, parts: Iterable[tuple[dict, bool, bool]], jobs: int) -> list[Problem]:
    """Returns the problems in annotations, and in the images and masks of data sets whose annotations have no errors.

    Args:
        framework (str): Framework of the data sets.
        parts (Iterable): Data set; whether it is evaluated; whether masks of objects are used.
        jobs (int): Number of processes.
    """
    import_quietly(framework)
    init_default_scope(framework)
    problems, samples = [], []
    for config, is_evaluated, needs_masks in parts:
        found = find_problems(config, is_evaluated=is_evaluated, needs_masks=needs_masks)
        problems += found
        if not any(problem.is_error for problem in found):
            dataset = DATASETS.build(dict(config, pipeline=[]))
            num_classes = len(dataset.metainfo.get('classes') or ())
            samples += [(dataset.get_data_info(index), num_classes) for index in range(len(dataset))]
    errors = track_parallel_progress(sample_error, samples, jobs, chunksize=8, file=sys.stderr) if samples else []
    return [*problems, *(Problem(error, True) for error in dict.fromkeys(errors) if error)]
