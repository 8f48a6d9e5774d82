"""Finds all problems in the data of a folder or a config, by reading every annotation, image and mask."""
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from tempfile import TemporaryFile

from mmengine.config import Config
from mmengine.utils import track_iter_progress

from mmvit_backbones.errors import UsageError

from ..configs.files import datasets_of
from ..utils.images import START_OF_JPEG
from . import read_folder
from .data_set_files import Once, check_data, problems_of
from .folders import one_folder
from .rasters import Looks, Raster, Seen, seen_in
from .rules import Problem


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
    data = read_folder(key, folder, boxes_only, val_fraction=val_fraction, split_seed=split_seed, check_files=False)
    looks = Looks(partial(_seen_by_processes, jobs), lists_errors=True)
    return [*data.problems, *data.problems_of_files(looks, splits)]


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
    if not any(datasets_of(cfg, split) for split in splits):
        raise UsageError(f'config {cfg.filename} has no data set for {" or ".join(splits)}')
    return problems_of(cfg, splits, Once(Looks(partial(_seen_by_processes, jobs), lists_errors=True), is_whole=True))


def errors_and_warnings(problems: Sequence[Problem]) -> tuple[list[str], list[str]]:
    """Returns the texts of errors and warnings, without repetitions."""
    errors, warnings = (list(dict.fromkeys(problem.text for problem in problems if problem.is_error is is_error))
                        for is_error in (True, False))
    return errors, warnings


def _seen_by_processes(jobs: int, rasters: Sequence[Raster]) -> list[Seen]:
    """Returns what is seen in images and masks, which are all decoded, in several processes."""
    try:
        with ProcessPoolExecutor(jobs) as pool:
            seen = pool.map(_seen_in_own_process, rasters, chunksize=8)
            return list(track_iter_progress((seen, len(rasters)), file=sys.stderr)) if rasters else []
    except BrokenProcessPool as error:
        raise UsageError(f'one of {jobs} processes that read the images was killed, most often because memory is full; '
                         'use fewer jobs') from error


def _seen_in_own_process(raster: Raster) -> Seen:
    """Returns what is seen in an image and its mask, which are decoded, and what libjpeg prints of damaged data.

    It prints to standard error, which a process has once.
    """
    with suppress(OSError), open(raster.image, 'rb') as file:
        if file.read(2) == START_OF_JPEG:
            with TemporaryFile() as printed:
                before = os.dup(2)
                os.dup2(printed.fileno(), 2)
                try:
                    seen = seen_in(raster, decodes=True)
                finally:
                    os.dup2(before, 2)
                    os.close(before)
                printed.seek(0)
                return seen._replace(printed=' '.join(printed.read().decode(errors='replace').split()))
    return seen_in(raster, decodes=True)
