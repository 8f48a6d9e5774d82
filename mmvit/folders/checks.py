"""Checks the files of a config's data sets, which cannot be built as long as files are missing or damaged."""
import os
import os.path as osp
from collections.abc import Sequence
from typing import Literal

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.text import read_text

from ..utils.config import datasets_of, metrics_of
from ..utils.distributed import is_first_process
from ..utils.frameworks import import_quietly
from ..utils.images import check_image
from .coco import IMAGES_TO_CHECK, coco_problems, read_coco
from .masks import check_labels
from .problems import Problem, report
from .text import has_mark

OTHER_FORMATS = 'CocoPanopticDataset', 'CocoCaptionDataset'  # without a category and a box per annotation
FOLDER_PER_CLASS = 'CustomDataset', 'ImageNet', 'ImageNet21k'  # if they have no annotation file
LISTS = '.txt', '.csv', '.tsv'
FOLDER_OPTIONS = 'class_folder', 'coco_folder', 'seg_folder'
EXAMPLES = dict(mmpretrain='--class-folder data/flowers_mini', mmdet='--coco-folder data/coco_mini',
                mmseg='--seg-folder data/camvid_mini')


def check_data(cfg: Config, splits: Sequence[str], content: bool = True) -> None:
    """Checks that the files of the given splits exist and that COCO annotations are valid.

    Prints minor problems in the annotations as warnings.

    Args:
        cfg (Config): Config of the run.
        splits (Sequence[str]): Any of 'train', 'val' and 'test'.
        content (bool): Whether to check the content of COCO annotations. Defaults to True.

    Raises:
        UsageError: If a file is missing, a folder is missing, empty or not readable, or the annotations have errors.
    """
    for split in splits:
        for dataset in datasets_of(cfg, split):
            if dataset.get('backend_args') or _kind(dataset).startswith('CIFAR'):
                continue  # the files are not on a local disk, or mmpretrain downloads them if they are missing
            if missing := next((path for path in _paths(dataset) if not _is_there(path)), None):
                raise UsageError(_message(cfg, split, missing))
            if content:
                report(find_problems(dataset, IMAGES_TO_CHECK, split != 'train', uses_masks(cfg, split)))
        for metric in metrics_of(cfg, split):
            for key in ('ann_file', 'label_file'):
                if metric.get(key) and not _is_there(metric[key]):
                    raise UsageError(f'{split}_evaluator.{key} {_absolute(metric[key])} does not exist')
        for dataset in evaluated_files(cfg, split) if content else ():
            report(find_problems(dataset, IMAGES_TO_CHECK, True, uses_masks(cfg, split)))


def find_problems(dataset: dict, num_images: int = 0, is_evaluated: bool = True, needs_masks: bool = False
                  ) -> list[Problem]:
    """Returns the problems in the annotations of a COCO data set, or in the encoding of a list of images.

    Returns an empty list for other data sets, and in all processes except the first.

    Args:
        dataset (dict): Config of the data set.
        num_images, is_evaluated, needs_masks: As in :func:`coco_problems`.
    """
    if not is_first_process():
        return []
    try:
        if not is_coco(dataset):
            check_list(dataset)
            return []
        file, folder, *_ = map(osp.expanduser, _paths(dataset))
        content = read_coco(file)
        if has_mark(file):
            raise UsageError(f'{file} starts with a byte order mark, which mmdet does not read; save the file as UTF-8 '
                             'without one, or use --coco-folder')
    except UsageError as error:
        return [Problem(str(error), True)]
    return coco_problems(file, content, folder, (dataset.get('metainfo') or {}).get('classes'), is_evaluated,
                         num_images, needs_masks)


def check_list(dataset: dict) -> None:
    """Raises UsageError if the annotation file of a data set is text that OpenMMLab does not read."""
    if dataset.get('ann_file') and osp.splitext(dataset['ann_file'])[1].lower() in LISTS:
        file = osp.expanduser(_paths(dataset)[0])
        if not osp.isfile(file):
            return  # another error
        read_text(file)
        if has_mark(file):
            raise UsageError(f'{file} starts with a byte order mark, which becomes a part of the first name; save the '
                             'file as UTF-8 without one')


def evaluated_files(cfg: Config, split: str) -> list[dict]:
    """Returns configs of data sets for COCO files that only the evaluation of a split reads, not its data loader."""
    datasets = [dataset for dataset in datasets_of(cfg, split) if is_coco(dataset)]
    known = {osp.realpath(osp.expanduser(_paths(dataset)[0])) for dataset in datasets}
    files = {osp.realpath(osp.expanduser(metric['ann_file'])): metric['ann_file'] for metric in metrics_of(cfg, split)
             if str(metric.get('type')).rpartition('.')[2] == 'CocoMetric' and metric.get('ann_file')}
    return [dict(datasets[0], data_root='', ann_file=file, data_prefix=dict(img=_paths(datasets[0])[1]))
            for place, file in files.items() if datasets and place not in known]


def uses_masks(cfg: Config, split: str) -> bool:
    """Returns whether a config of mmdet loads or evaluates the masks of objects."""
    if any('segm' in str(metric.get('metric')) for metric in metrics_of(cfg, split)):
        return True
    datasets = [dataset for dataset in datasets_of(cfg, split) if is_coco(dataset)]
    if datasets:
        import_quietly(cfg.default_scope)
        init_default_scope(cfg.default_scope)
    return any(getattr(step, 'with_mask', False) for dataset in datasets
               for step in Compose(dataset.get('pipeline', ())).transforms)


def is_coco(dataset: dict) -> bool:
    """Returns whether the annotations of a data set are objects in COCO format."""
    kind = _kind(dataset)
    is_json = str(dataset.get('ann_file')).endswith('.json')
    return kind.startswith('Coco') and kind not in OTHER_FORMATS and is_json


def _kind(dataset: dict) -> str:
    """Returns the type of a data set without its scope, such as ``mmdet.``."""
    return str(dataset.get('type')).rpartition('.')[2]


def sample_error(sample: tuple[dict, int]) -> str:
    """Returns an error message if the image or the mask of a sample is invalid, or an empty string otherwise.

    Args:
        sample (tuple[dict, int]): Entry of the data set, as returned by ``get_data_info``, and the number of classes.
    """
    info, num_classes = sample
    if 'img_path' not in info:
        return ''  # not stored as an image file, as in CIFAR
    try:
        image = _read(info['img_path'], flag='color', backend=None)
        size, stated = image.shape[:2], (info.get('height'), info.get('width'))
        if None not in stated and size != stated:
            raise UsageError(f'image {info["img_path"]} has {size[1]} x {size[0]} pixels, but the annotations say '
                             f'{stated[1]} x {stated[0]} (width x height)')
        if mask := info.get('seg_map_path'):
            labels = _read(mask, flag='unchanged', backend='pillow')
            if labels.shape[:2] != size:
                raise UsageError(f'mask {mask} has {labels.shape[1]} x {labels.shape[0]} pixels, but its image has '
                                 f'{size[1]} x {size[0]} (width x height)')
            if 'instances' not in info:  # the masks of mmdet's data sets have other classes than the objects
                last = np.inf if info.get('label_map') else num_classes - 1 + bool(info.get('reduce_zero_label'))
                check_labels(mask, labels, last)
    except UsageError as error:
        return str(error).split('\n')[0]
    return ''


def _read(path: str, flag: Literal['color', 'unchanged'], backend: str | None) -> np.ndarray:
    """Reads an image like OpenMMLab, but raises UsageError for a damaged file instead of filling in missing pixels."""
    import mmcv
    check_image(path)
    image = mmcv.imread(path, flag=flag, backend=backend)
    if image is None:
        raise UsageError(f'image {path} cannot be read by OpenCV, which OpenMMLab uses')
    return image


def _paths(dataset: dict) -> list[str]:
    """Returns the paths of the annotation file, if any, and of the image and mask folders; folders end with a slash."""
    split = dataset.get('split') if _kind(dataset) in FOLDER_PER_CLASS else ''  # elsewhere, a split is not a folder
    prefix = dataset.get('data_prefix') or split or ''
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    names = [dataset['ann_file']] if dataset.get('ann_file') else []
    names += [osp.join(folder, '') for folder in folders]
    return [osp.join(dataset.get('data_root') or '', name) for name in names]


def _absolute(path: str) -> str:
    return osp.abspath(osp.expanduser(path))


def _is_there(path: str) -> bool:
    path = osp.expanduser(path)
    if not path.endswith(os.sep):
        return osp.isfile(path)
    return osp.isdir(path) and os.access(path, os.R_OK) and bool(os.listdir(path))


def _message(cfg: Config, split: str, missing: str) -> str:
    found = f'data set not found: {_absolute(missing)} of {split}_dataloader is missing, empty or not readable'
    if option := next((key for key in FOLDER_OPTIONS if key in (cfg.get('recipe') or {})), None):
        option = f'--{option.replace("_", "-")} FOLDER'
        return f'{found}; ' + (f'test on the folder of the data with {option}' if split == 'test' else
                               f'train with mmvit train {cfg.recipe.get("network")} {option}, with --resume to go on')
    example = f', or train a network with {EXAMPLES[cfg.default_scope]} of a checkout' if split != 'test' else ''
    return f'{found}; set its place with --data-root{example}'
