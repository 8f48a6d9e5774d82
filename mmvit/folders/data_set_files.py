"""Checks the files of a config's data sets, which cannot be built as long as files are missing or damaged."""
import os
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import decode_text, read_bytes

from ..configs.files import FOLDER_PER_CLASS, datasets_of, metrics_of, paths_of, type_name
from ..utils.distributed import is_first_process
from ..utils.frameworks import metainfo_of, use_framework
from ..utils.images import IGNORED
from .class_folder import CLASS_RULES, ClassFolder
from .class_lists import BYTE_ORDER_MARK
from .coco import Coco
from .coco_rules import coco_problems
from .rasters import Looks, Raster
from .rules import Problem, apply, raise_or_warn
from .seg_folder import MANY_CLASSES, SegFolder

IMAGES_TO_CHECK = 100  # keeps the start of a training fast
OTHER_FORMATS = 'CocoPanopticDataset', 'CocoCaptionDataset'  # without a category and a box per annotation
LISTS = '.txt', '.csv', '.tsv'
FOLDER_OPTIONS = 'class_folder', 'coco_folder', 'seg_folder'
EXAMPLES = dict(mmpretrain='--class-folder data/flowers_mini', mmdet='--coco-folder data/coco_mini',
                mmseg='--seg-folder data/camvid_mini')


@dataclass
class Once:
    """Files that were read before, so that each file is read once: COCO files by their paths, and rasters.

    With ``is_whole``, all images of all data sets are read.
    """

    looks: Looks = field(default_factory=Looks)
    is_whole: bool = False
    files: dict[str, Coco] = field(default_factory=dict)

    def coco(self, file: str, folder: str, **use) -> Coco:
        """Returns a COCO file for another use."""
        if file not in self.files:
            self.files[file] = Coco.read(file, folder)
        return Coco(file, self.files[file].content, folder, has_mark=self.files[file].has_mark, **use)


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
                raise UsageError(_message(cfg, split, missing))
        for metric in metrics_of(cfg, split):
            for key in ('ann_file', 'label_file'):
                if metric.get(key) and not _is_there(metric[key]):
                    raise UsageError(f'{split}_evaluator.{key} {_absolute(metric[key])} does not exist')
    if content:
        raise_or_warn(problems_of(cfg, splits, Once()))


def problems_of(cfg: Config, splits: Sequence[str], once: Once) -> list[Problem]:
    """Returns the problems in the data sets of a config; see :func:`find_problems`."""
    problems = [problem for split in splits for dataset in (*local_datasets(cfg, split), *evaluated_files(cfg, split))
                for problem in find_problems(dataset, split != 'train', uses_masks(cfg, split), cfg.default_scope, once,
                                             has_figures_by_class(cfg, split))]
    return [*problems, *limits_on_objects(cfg, once)]


def limits_on_objects(cfg: Config, once: Once) -> list[Problem]:
    """Returns a warning if an image in a COCO file that was read has more objects than the detector returns."""
    settings, place = cfg.get('model', {}).get('test_cfg') or {}, 'model.test_cfg'
    if settings.get('rcnn'):
        settings, place = settings['rcnn'], f'{place}.rcnn'
    limit = isinstance(settings, dict) and settings.get('max_per_img')
    if not isinstance(limit, int) or limit < 0:
        return []
    most = {file: max(Counter(each.get('image_id') for each in coco.annotations if not each.get('iscrowd')).values(),
                      default=0) for file, coco in once.files.items()}
    return [Problem(f'{file}: an image has {number} objects, and the detector returns at most {limit} per image '
                    f'({place}.max_per_img), so that recall cannot reach 1', False)
            for file, number in most.items() if number > limit]


def local_datasets(cfg: Config, split: str) -> list[dict]:
    """Returns the data sets of a split on a local disk, except those that mmpretrain downloads if they are missing."""
    return [dataset for dataset in datasets_of(cfg, split)
            if not dataset.get('backend_args') and not type_name(dataset).startswith('CIFAR')]


def find_problems(dataset: dict, is_evaluated: bool = True, needs_masks: bool = False, framework: str = '',
                  once: Once | None = None, by_class: bool = True) -> list[Problem]:
    """Returns the problems in the annotations of a data set, and in a part of its images and masks.

    Images and masks are those of data sets in COCO format and of mmseg. Returns an empty list in all processes except
    the first.

    Args:
        dataset (dict): Config of the data set.
        is_evaluated (bool): Whether it is used for evaluation. Defaults to True.
        needs_masks (bool): Whether masks of objects are used. Defaults to False.
        framework (str): Framework of the data set.
        once (Once | None): What was read before. Defaults to None: nothing.
        by_class (bool): Whether the evaluation has figures of each class. Defaults to True.
    """
    if not is_first_process():
        return []
    once = once or Once()
    problems = annotation_problems(dataset, is_evaluated, needs_masks, framework, once, by_class)
    has_rasters = once.is_whole or is_coco(dataset) or framework == 'mmseg' and _loads_masks(dataset)
    if has_rasters and not any(problem.is_error for problem in problems):
        rasters = rasters_of(dataset, framework, needs_masks, once)
        step = 1 if once.is_whole else -(-len(rasters) // IMAGES_TO_CHECK) or 1
        chosen = [raster for i, raster in enumerate(rasters) if i % step == 0 or raster.has_run_lengths]
        problems += once.looks.problems(chosen, is_evaluated)
    return problems


def annotation_problems(dataset: dict, is_evaluated: bool, needs_masks: bool, framework: str, once: Once,
                        by_class: bool) -> list[Problem]:
    """Returns the problems in the annotations of a COCO data set, in a list of images, or in the classes."""
    try:
        if is_coco(dataset):
            return coco_problems(_coco(dataset, once, classes=class_names(dataset, framework), needs_masks=needs_masks,
                                       is_evaluated=is_evaluated, by_class=by_class))
        check_list(dataset)
    except UsageError as error:
        return [Problem(str(error), True)]
    if type_name(dataset) in FOLDER_PER_CLASS and not dataset.get('ann_file'):
        folder = osp.expanduser(paths_of(dataset)[0])
        names = (dataset.get('metainfo') or {}).get('classes') or sorted(
            entry.name for entry in os.scandir(folder) if entry.is_dir())
        return apply(CLASS_RULES[:1], ClassFolder(names, {}, {}), is_evaluated, place=folder)
    return []


def rasters_of(dataset: dict, framework: str, needs_masks: bool, once: Once) -> list[Raster]:
    """Returns the images of a data set with what it says of them; builds data sets that are not in COCO format.

    Raises:
        UsageError: If masks cannot hold the classes.
    """
    if is_coco(dataset):
        coco = _coco(dataset, once, needs_masks=needs_masks)
        return coco.rasters(coco.images)
    use_framework(framework)
    built = DATASETS.build(dict(dataset, pipeline=[]))
    names = built.metainfo.get('classes') or ()
    if framework == 'mmseg' and _loads_masks(dataset):
        raise_or_warn(apply([MANY_CLASSES], SegFolder(names, [], ''), is_evaluated=True))
    ignored = getattr(built, 'ignore_index', IGNORED)
    last = max(len(names) - 1, ignored if ignored != IGNORED else 0) if names else np.inf
    infos = (built.get_data_info(index) for index in range(len(built)))
    return [_raster(info, last) for info in infos if 'img_path' in info]  # CIFAR does not store images as files


def _raster(info: dict, last: float) -> Raster:
    """Returns the raster of an entry of a data set, whose masks have labels up to ``last``."""
    size = (info['width'], info['height']) if None not in (info.get('height'), info.get('width')) else None
    # the masks of mmdet's data sets have other classes than the objects
    is_any = 'instances' in info or info.get('label_map')
    return Raster(info['img_path'], size, info.get('seg_map_path') or '',
                   np.inf if is_any else last + bool(info.get('reduce_zero_label')))


def _loads_masks(dataset: dict) -> bool:
    """Returns whether a data set reads images and masks with the loaders of mmseg rather than with others."""
    steps = {type_name(step) for step in dataset.get('pipeline') or ()}
    return {'LoadImageFromFile', 'LoadAnnotations'} <= steps


def _coco(dataset: dict, once: Once, **use: Any) -> Coco:
    file, folder, *_ = map(osp.expanduser, paths_of(dataset))
    return once.coco(file, folder, **use)


def class_names(dataset: dict, framework: str) -> Sequence[str] | None:
    """Returns the classes of a data set: those of its metainfo, which may be a file, or those of its type."""
    names = (dataset.get('metainfo') or {}).get('classes')
    if names is not None and not isinstance(names, str) or not framework:
        return names
    use_framework(framework)
    return metainfo_of(dataset).get('classes')


def check_list(dataset: dict) -> None:
    """Raises UsageError if the annotation file of a data set is text that OpenMMLab does not read."""
    if dataset.get('ann_file') and osp.splitext(dataset['ann_file'])[1].lower() in LISTS:
        file = osp.expanduser(paths_of(dataset)[0])
        if not osp.isfile(file):
            return  # another error
        content = read_bytes(file)
        decode_text(content, file)
        if content.startswith(BYTE_ORDER_MARK):
            raise UsageError(f'{file} starts with a byte order mark, which becomes a part of the first name; save the '
                             'file as UTF-8 without one')


COCO_METRICS = 'CocoMetric', 'CocoMetricAt', 'CocoMetricFromZero'


def evaluated_files(cfg: Config, split: str) -> list[dict]:
    """Returns configs of data sets for COCO files that only the evaluation of a split reads, not its data loader."""
    datasets = [dataset for dataset in datasets_of(cfg, split) if is_coco(dataset)]
    known = {osp.realpath(osp.expanduser(paths_of(dataset)[0])) for dataset in datasets}
    files = {osp.realpath(osp.expanduser(metric['ann_file'])): metric['ann_file'] for metric in metrics_of(cfg, split)
             if type_name(metric) in COCO_METRICS and metric.get('ann_file')}
    return [dict(datasets[0], data_root='', ann_file=file, data_prefix=dict(img=paths_of(datasets[0])[1]))
            for place, file in files.items() if datasets and place not in known]


def uses_masks(cfg: Config, split: str) -> bool:
    """Returns whether a config of mmdet loads or evaluates the masks of objects."""
    steps = [step for dataset in datasets_of(cfg, split) if is_coco(dataset) for step in dataset.get('pipeline') or ()]
    return any('segm' in str(metric.get('metric')) for metric in metrics_of(cfg, split)) or any(
        step.get('with_mask') for step in steps)


def has_figures_by_class(cfg: Config, split: str) -> bool:
    """Returns whether an evaluation of mmdet's has figures of each class."""
    return any(metric.get('classwise') for metric in metrics_of(cfg, split))


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


def _message(cfg: Config, split: str, missing: str) -> str:
    found = f'data set not found: {_absolute(missing)} of {split}_dataloader is missing, empty or not readable'
    if option := next((key for key in FOLDER_OPTIONS if key in (cfg.get('recipe') or {})), None):
        option = f'--{option.replace("_", "-")} FOLDER'
        return f'{found}; ' + (f'test on the folder of the data with {option}' if split == 'test' else
                               f'train with mmvit train {cfg.recipe.get("network")} {option}, with --resume to go on')
    example = f', or train a network with {EXAMPLES[cfg.default_scope]} of a checkout' if split != 'test' else ''
    return f'{found}; set its place with --data-root{example}'
