"""Finds all problems in the data of a folder or a config, by reading every annotation, image and mask."""
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from mmengine.config import Config
from mmengine.utils import track_iter_progress

from mmvit_backbones.errors import UsageError

from ..utils.config_files import datasets_of
from . import FOLDERS
from .data_set_files import Once, annotation_problems, check_data, evaluated_files, rasters_of, uses_masks
from .folders import one_folder
from .rasters import RASTER_RULES, Raster, Rasters, look
from .rules import Problem, apply


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
        UsageError: If there is not exactly one folder, its layout or annotations cannot be read, or a process was
            killed.
    """
    key, folder = one_folder(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    if boxes_only and key != 'coco_folder':
        raise UsageError(f'boxes_only (--boxes-only) requires coco_folder, got {key}')
    _, read = FOLDERS[key]
    data = read(folder, val_fraction=val_fraction, split_seed=split_seed, check_files=False,
                **(dict(boxes_only=boxes_only) if key == 'coco_folder' else {}))
    return [*data.problems, *_problems_of([(rasters, part == 'val') for part, rasters in data.rasters.items()
                                           if part in splits], jobs, needs_labels=key == 'seg_folder')]


def config_problems(cfg: Config, splits: Sequence[str] = ('train', 'val'), jobs: int = 4) -> list[Problem]:
    """Returns all problems in the data sets of a config; of a data set without errors, also those in each file.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Any of 'train', 'val' and 'test'. Defaults to ('train', 'val').
        jobs (int): Number of processes. Defaults to 4.

    Raises:
        UsageError: If a file or folder of a data set is missing, there is no data set, or a process was killed.
    """
    check_data(cfg, splits, content=False)
    once, problems, parts = Once(), [], []
    datasets = [(dataset, split != 'train', uses_masks(cfg, split)) for split in splits
                for dataset in datasets_of(cfg, split)]
    if not datasets:
        raise UsageError(f'config {cfg.filename} has no data set for {" or ".join(splits)}')
    for dataset, is_evaluated, needs_masks in datasets:
        found = annotation_problems(dataset, is_evaluated, needs_masks, once)
        problems += found
        if not any(problem.is_error for problem in found):
            parts.append((rasters_of(dataset, cfg.default_scope, needs_masks, once), is_evaluated))
    for split in splits:
        for dataset in evaluated_files(cfg, split):
            problems += annotation_problems(dataset, True, uses_masks(cfg, split), once)
    return [*problems, *_problems_of(parts, jobs)]


def errors_and_warnings(problems: Iterable[Problem]) -> tuple[list[str], list[str]]:
    """Returns the texts of errors and warnings, without repetitions."""
    errors, warnings = ([problem.text for problem in problems if problem.is_error is is_error]
                        for is_error in (True, False))
    errors = [text for text in dict.fromkeys(errors) if not any(other in text for other in errors if other != text)]
    return errors, list(dict.fromkeys(warnings))


def _problems_of(parts: Iterable[tuple[list[Raster], bool]], jobs: int, needs_labels: bool = False) -> list[Problem]:
    """Returns the problems in images and masks, each of which is read once.

    Args:
        parts (Iterable): Rasters, and whether they are evaluated.
        jobs (int): Number of processes.
        needs_labels (bool): Whether the masks of a training must have different labels. Defaults to False.
    """
    parts = list(parts)
    rasters = list(dict.fromkeys(raster for part, _ in parts for raster in part))
    try:
        with ProcessPoolExecutor(jobs) as pool:
            looks = pool.map(partial(look, decodes=True), rasters, chunksize=8)
            found = list(track_iter_progress((looks, len(rasters)), file=sys.stderr)) if rasters else []
    except BrokenProcessPool as error:
        raise UsageError(f'one of {jobs} processes that read the images was killed, most often because memory is full; '
                         'use fewer jobs') from error
    seen = dict(zip(rasters, found))
    return [problem for part, is_evaluated in parts for problem in apply(
        RASTER_RULES, Rasters([seen[raster] for raster in part], needs_labels and not is_evaluated), is_evaluated,
        lists_errors=True)]
