"""Checks the files of a config's data sets, which cannot be built if files are damaged, and all of a folder's."""
import os
import os.path as osp
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from .. import frameworks
from ..folders import read_folder
from ..folders.coco import Coco
from ..folders.coco_rules import coco_problems
from ..folders.copies import shared_images
from ..folders.images import IGNORED
from ..folders.rasters import Raster, raster_problems, sample_of
from ..folders.rules import Problem, apply, raise_or_warn
from ..folders.seg_folder import MANY_CLASSES, SegFolder
from ..frameworks.building import build_dataset, metainfo_of, use_framework
from ..frameworks.tasks import choose_task
from ..utils.config_parts import datasets_of, metrics_of, paths_of
from ..utils.distributed import is_first_process

FIRST_IMAGES = 32  # of a data set
OTHER_FORMATS = 'CocoPanopticDataset', 'CocoCaptionDataset'  # without a category and a box per annotation


def check_data(cfg: Config, splits: Sequence[str], content: bool = True) -> None:
    """Checks that the files of the given splits exist, and applies the rules to annotations and a part of the images.

    Prints minor problems as warnings.

    Args:
        cfg (Config): Config of the run.
        splits (Sequence[str]): Any of 'train', 'val' and 'test'.
        content (bool): Whether to apply the rules. Defaults to True.

    Raises:
        UsageError: If a file is missing, a folder is missing, empty or not readable, or the data have errors.
    """
    for split in splits:
        for dataset in local_datasets(cfg, split):
            if missing := next((path for path in paths_of(dataset) if not _is_there(path)), None):
                raise UsageError(f'data set not found: {_absolute(missing)} of {split}_dataloader is missing, empty or '
                                 'not readable; set its place with data_root (--data-root), or pass the folder of the '
                                 'data')
        for metric in metrics_of(cfg, split):
            for key in ('ann_file', 'label_file'):
                if metric.get(key) and not _is_there(metric[key]):
                    raise UsageError(f'{split}_evaluator.{key} {_absolute(metric[key])} does not exist')
    if content:
        raise_or_warn(problems_of(cfg, splits))


def problems_of(cfg: Config, splits: Sequence[str], is_full: bool = False) -> list[Problem]:
    """Returns the problems in the data sets of a config; in all images and masks with ``is_full``."""
    seen: dict[str, list[Raster]] = {split: [] for split in splits}
    found = [problem for split in splits for dataset in local_datasets(cfg, split)
             for problem in find_problems(dataset, cfg, split, seen[split], is_full)]
    return [*found, *(shared_images(seen.get('train', ()), seen.get('val', ()), is_full) if is_full else ())]


def local_datasets(cfg: Config, split: str) -> list[dict]:
    """Returns the data sets of a split on a local disk, except those that mmpretrain downloads if they are missing."""
    return [dataset for dataset in datasets_of(cfg, split)
            if not dataset.get('backend_args') and not type_name(dataset).startswith('CIFAR')]


def find_problems(dataset: dict, cfg: Config, split: str, seen: list[Raster], is_full: bool = False) -> list[Problem]:
    """Returns the problems in the annotations, images and masks of a data set.

    Args:
        dataset (dict): Config of the data set.
        cfg (Config): Config of the run.
        split (str): 'train', 'val' or 'test'.
        seen (list[Raster]): Where to add the images and masks at which it looks.
        is_full (bool): Whether to decode all images rather than to look at :func:`sample_of`. Defaults to False.
    """
    if not is_first_process():
        return []
    is_evaluated, problems, rasters = split != 'train', [], []
    try:
        if is_coco(dataset):
            coco = read_coco(dataset, cfg, split)
            problems, rasters = coco_problems(coco), coco.rasters(coco.images)
        elif is_full or frameworks.of(cfg).has_label_maps(dataset):
            rasters = rasters_of(dataset, cfg, split)
        if any(problem.is_error for problem in problems) or _reads_other_files(dataset):
            return problems
        chosen = rasters if is_full else sample_of(rasters, split == 'test')
        seen += chosen
        return problems + raster_problems(chosen, is_evaluated, is_full=is_full)
    except UsageError as error:
        return [Problem(str(error), True)]


def read_coco(dataset: dict, cfg: Config, split: str) -> Coco:
    """Returns the COCO file of a data set, as a split uses it."""
    file, folder, *_ = map(osp.expanduser, paths_of(dataset))
    names = (dataset.get('metainfo') or {}).get('classes')
    if names is None or isinstance(names, str):  # of the data set's type, or in a file
        use_framework(cfg.default_scope)
        names = metainfo_of(dataset).get('classes')
    return replace(Coco.read(file, folder), needs_masks=uses_masks(cfg, split), is_evaluated=split != 'train',
                   classes=names)


def image_files(cfg: Config, split: str) -> list[str]:
    """Returns the paths of the first images in a data set of a config."""
    dataset = build_dataset(cfg, split)
    return [dataset.get_data_info(number)['img_path'] for number in range(min(FIRST_IMAGES, len(dataset)))]


def rasters_of(dataset: dict, cfg: Config, split: str) -> list[Raster]:
    """Returns the images of a data set that is not in COCO format, and what it says of them; builds it.

    Raises:
        UsageError: If masks cannot hold the classes.
    """
    use_framework(cfg.default_scope)
    built = DATASETS.build(dict(dataset, pipeline=[]))
    names = built.metainfo.get('classes') or ()
    if frameworks.of(cfg).has_label_maps(dataset):
        raise_or_warn(apply([MANY_CLASSES], SegFolder(names, [], ''), is_evaluated=True))
    infos = (built.get_data_info(index) for index in range(len(built)))
    return [_raster(info, len(names) - 1 if names else np.inf, ignored_label(cfg, split)) for info in infos
            if 'img_path' in info]  # CIFAR does not store images as files


def _raster(info: dict, last: float, ignored: int) -> Raster:
    """Returns the raster of an entry of a data set, whose masks have labels up to ``last``."""
    size = (info['width'], info['height']) if None not in (info.get('height'), info.get('width')) else None
    # the masks of mmdet's data sets have other classes than the objects
    is_any = 'instances' in info or info.get('label_map')
    return Raster(info['img_path'], size, info.get('seg_map_path') or '',
                  np.inf if is_any else last + bool(info.get('reduce_zero_label')), ignored)


def _reads_other_files(dataset: dict) -> bool:
    """Returns whether images are read by another library than OpenCV, such as tifffile for more than four bands."""
    return any(type_name(step) == 'LoadImageFromFile' and step.get('imdecode_backend', 'cv2') != 'cv2'
               for step in dataset.get('pipeline') or ())


def ignored_label(cfg: Config, split: str) -> int:
    """Returns the label of pixels that a segmenter's loss, or else its metrics, leave out."""
    head = (cfg.get('model') or {}).get('decode_head') or {}
    users = [head[-1] if isinstance(head, (list, tuple)) else head] if split == 'train' else metrics_of(cfg, split)
    return next((user['ignore_index'] for user in users if 'ignore_index' in user), IGNORED)


def uses_masks(cfg: Config, split: str) -> bool:
    """Returns whether a config of mmdet loads or evaluates the masks of objects."""
    steps = [step for dataset in datasets_of(cfg, split) if is_coco(dataset) for step in dataset.get('pipeline') or ()]
    return any('segm' in str(metric.get('metric')) for metric in metrics_of(cfg, split)) or any(
        step.get('with_mask') for step in steps)


def is_coco(dataset: dict) -> bool:
    """Returns whether the annotations of a data set are objects in COCO format."""
    kind = type_name(dataset)
    is_json = str(dataset.get('ann_file')).endswith('.json')
    return kind.startswith('Coco') and kind not in OTHER_FORMATS and is_json


def _absolute(path: str) -> str:
    return osp.abspath(osp.expanduser(path))


def _is_there(path: str) -> bool:
    path = osp.expanduser(path)
    if not path.endswith(os.sep):
        return osp.isfile(path)
    return osp.isdir(path) and os.access(path, os.R_OK) and bool(os.listdir(path))


def folder_problems(*, class_folder: str | os.PathLike | None = None, coco_folder: str | os.PathLike | None = None,
                    seg_folder: str | os.PathLike | None = None, val_fraction: float | None = None,
                    split_seed: int = 0, boxes_only: bool = False,
                    splits: Sequence[str] = ('train', 'val')) -> list[Problem]:
    """Returns all problems in a folder of data, as a training finds them, and those in each image and mask.

    Args:
        class_folder, coco_folder, seg_folder, val_fraction, split_seed: As in :class:`~mmvit.recipes.FineTuning`.
        boxes_only (bool): Whether to ignore the masks of a detector's objects. Defaults to False.
        splits (Sequence[str]): Parts whose images are read: 'train', 'val' or both. Defaults to both.

    Raises:
        UsageError: If there is not exactly one folder, or its layout or annotations cannot be read.
    """
    task, folder = choose_task(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    data = read_folder(task.argument, folder, boxes_only, val_fraction=val_fraction, split_seed=split_seed)
    return [*data.problems, *data.problems_of_files(splits, is_full=True)]


def config_problems(cfg: Config, splits: Sequence[str] = ('train', 'val')) -> list[Problem]:
    """Returns all problems in the data sets of a config; of a data set without errors, also those in each file.

    Args:
        cfg (Config): The config.
        splits (Sequence[str]): Any of 'train', 'val' and 'test'. Defaults to ('train', 'val').

    Raises:
        UsageError: If a file or folder of a data set is missing, or there is no data set.
    """
    check_data(cfg, splits, content=False)
    if not any(datasets_of(cfg, split) for split in splits):
        raise UsageError(f'config {cfg.filename} has no data set for {" or ".join(splits)}')
    return problems_of(cfg, splits, is_full=True)


def errors_and_warnings(problems: Sequence[Problem]) -> tuple[list[str], list[str]]:
    """Returns the texts of errors and warnings, without repetitions."""
    errors, warnings = (list(dict.fromkeys(problem.text for problem in problems if problem.is_error is is_error))
                        for is_error in (True, False))
    return errors, warnings
