"""Changes a config to custom data, or to another folder of its data set."""
import os.path as osp
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..errors import UsageError
from ..utils.config import datasets_of
from ..utils.file_configs import dicts_in
from ..utils.images import SUFFIXES, check_image
from .checks import check_data, check_mask, read_coco

SPLITS = (('train', 'train'), ('val', 'val'), ('test', 'val'))  # of a config, of a folder
MASKS_TO_CHECK = 100  # more would take long


def use_custom_data(cfg: Config, class_folder: str | None = None, coco_folder: str | None = None,
                    seg_folder: str | None = None, data_root: str | None = None) -> None:
    """Points a config to a folder of one of four kinds, after checking its content; without a folder, does nothing."""
    folders = {use_class_folder: class_folder, use_coco_folder: coco_folder, use_seg_folder: seg_folder,
               use_data_root: data_root}
    for use, folder in folders.items():
        if folder:
            use(cfg, folder)


def use_class_folder(cfg: Config, folder: str) -> None:
    """Sets the data of a classifier to images in ``train/CLASS/`` and ``val/CLASS/`` of a folder."""
    _check_scope(cfg, 'mmpretrain', 'class_folder is for classifiers')
    if any(node.get('type') == 'LoadTokenLabels' for node in dicts_in(cfg.train_dataloader.dataset)):
        raise UsageError(f'class_folder: {cfg.filename} needs token labels next to the images; '
                         'tools/data/make_token_labels.py makes them')
    classes = _class_folders(folder, 'train')
    if unknown := set(_class_folders(folder, 'val')) - set(classes):
        raise UsageError(f'class_folder {folder}: val/ has the classes {sorted(unknown)}, which train/ lacks')
    for split, part in SPLITS:
        for dataset in datasets_of(cfg, split):
            _replace(dataset, type='CustomDataset', data_root=folder, data_prefix=part)
        for metric in dicts_in(cfg.get(f'{split}_evaluator')):
            if metric.get('type') == 'Accuracy':
                topk = metric.get('topk', 1)
                metric['topk'] = tuple(k for k in ([topk] if isinstance(topk, int) else topk) if k <= len(classes))
    _set_classes(cfg, classes)


def use_coco_folder(cfg: Config, folder: str) -> None:
    """Sets the data of a detector to ``train/`` and ``val/`` with ``annotations/instances_{train,val}.json``."""
    _check_scope(cfg, 'mmdet', 'coco_folder is for detectors')
    for split, part in SPLITS:
        for dataset in datasets_of(cfg, split):
            dataset.pop('data_prefix', None)  # update would keep other folders in it
            dataset.update(type='CocoDataset', data_root=osp.join(folder, ''), data_prefix=dict(img=f'{part}/'),
                           ann_file=f'annotations/instances_{part}.json')
        for metric in dicts_in(cfg.get(f'{split}_evaluator')):
            if 'ann_file' in metric:
                metric['ann_file'] = osp.join(folder, f'annotations/instances_{part}.json')
    check_data(cfg, ['train', 'val'])
    needs_masks = 'mask_head' in cfg.model.get('roi_head', {}) or 'panoptic_head' in cfg.model
    _set_classes(cfg, _read_coco_classes(folder, needs_masks))


def use_seg_folder(cfg: Config, folder: str) -> None:
    """Sets the data of a segmenter to ``images/{train,val}/``, ``masks/{train,val}/`` and the names in ``classes.txt``.

    Masks are PNG files with the images' names and class indices from 0 as values (255 is ignored).
    """
    _check_scope(cfg, 'mmseg', 'seg_folder is for segmenters')
    classes = _read_class_names(folder)
    for split, part in SPLITS:
        suffix = _check_masks(folder, part, len(classes))
        for dataset in datasets_of(cfg, split):
            _replace(dataset, type='BaseSegDataset', data_root=folder, img_suffix=suffix, seg_map_suffix='.png',
                     reduce_zero_label=False,
                     data_prefix=dict(img_path=f'images/{part}', seg_map_path=f'masks/{part}'))
            for step in dicts_in(dataset.pipeline):
                if step.get('type') == 'LoadAnnotations':
                    step.pop('reduce_zero_label', None)
    _set_classes(cfg, classes)


def use_data_root(cfg: Config, folder: str) -> None:
    """Sets the folder of a config's data set."""
    for split, _ in SPLITS:
        for dataset in datasets_of(cfg, split):
            old = dataset.get('data_root') or ''
            for metric in dicts_in(cfg.get(f'{split}_evaluator')):
                for key in ('ann_file', 'label_file'):
                    if old and (metric.get(key) or '').startswith(osp.join(old, '')):
                        metric[key] = osp.join(folder, osp.relpath(metric[key], old))
            dataset['data_root'] = osp.join(folder, '')


# ---- what is in a folder


def _check_scope(cfg: Config, scope: str, reason: str) -> None:
    if cfg.default_scope != scope:
        raise UsageError(f'{reason}, and {cfg.filename} has default_scope={cfg.default_scope!r}')


def _replace(dataset: dict, **new) -> None:
    """Replaces a data set config in place; pipeline and selection of samples are kept."""
    kept = {key: dataset[key] for key in ('pipeline', 'indices') if key in dataset}
    dataset.clear()
    dataset.update(kept, **new)


def _set_classes(cfg: Config, classes: tuple[str, ...]) -> None:
    for split, _ in SPLITS:
        for dataset in datasets_of(cfg, split):
            dataset['metainfo'] = dict(classes=classes)
    for node in (*dicts_in(cfg.model), *dicts_in(cfg.get('data_preprocessor'))):
        if 'num_classes' in node:
            node['num_classes'] = len(classes)
        elif 'num_things_classes' in node:  # Mask2Former of mmdet
            node['num_things_classes'] = len(classes)
        if 'class_weight' in (node.get('loss_cls') or {}):  # Mask2Former, for the classes and for none of them
            node['loss_cls']['class_weight'] = [1.0] * len(classes) + [0.1]


def _class_folders(folder: str, part: str) -> tuple[str, ...]:
    """Returns the classes in a split; raises UsageError if one has no image."""
    root = Path(folder, part)
    if not root.is_dir():
        raise UsageError(f'class_folder {folder}: it has no folder {part}/; expected are train/CLASS/ and val/CLASS/')
    classes = sorted(path for path in root.iterdir() if path.is_dir())
    empty = [path.name for path in classes if not any(file.suffix.lower() in SUFFIXES for file in path.rglob('*'))]
    if not classes or empty:
        found = f'{part}/{empty[0]}/ has no image' if empty else f'{part}/ has no folders'
        raise UsageError(f'class_folder {folder}: {found}; the folders in it are the classes')
    return tuple(path.name for path in classes)


def _read_class_names(folder: str) -> tuple[str, ...]:
    file = Path(folder, 'classes.txt')
    if not file.is_file():
        raise UsageError(f'seg_folder {folder}: it has no classes.txt, which names a class in each line')
    names = tuple(line.strip() for line in file.read_text(encoding='utf-8').splitlines() if line.strip())
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f'seg_folder {folder}: classes.txt must name two classes or more, each once, got {names}')
    return names


def _check_masks(folder: str, part: str, num_classes: int) -> str:
    """Checks that every image has a mask of class indices, and returns the suffix of the images."""
    images = sorted(path for path in Path(folder, 'images', part).glob('*') if path.suffix.lower() in SUFFIXES)
    if not images:
        raise UsageError(f'seg_folder {folder}: images/{part}/ has no image; expected are images/{{train,val}}/ and '
                         'masks/{train,val}/')
    suffixes = {image.suffix for image in images}
    if len(suffixes) > 1:
        raise UsageError(f'seg_folder {folder}: images/{part}/ has files of {sorted(suffixes)}, one suffix is '
                         'allowed')
    for number, image in enumerate(images):
        mask = Path(folder, 'masks', part, f'{image.stem}.png')
        if not mask.is_file():
            raise UsageError(f'seg_folder {folder}: images/{part}/{image.name} has no mask {mask}')
        if number < MASKS_TO_CHECK:
            check_mask(mask, np.array(check_image(mask)), num_classes - 1)
    return suffixes.pop()


def _read_coco_classes(folder: str, needs_masks: bool) -> tuple[str, ...]:
    """Returns the names of the classes, which both splits must share, in the order of the training annotations."""
    train, val = (read_coco(osp.join(folder, f'annotations/instances_{split}.json')) for split in ('train', 'val'))
    classes = tuple(category['name'] for category in train['categories'])
    missing = {category['name'] for category in val['categories']} - set(classes)
    if not classes or missing:
        raise UsageError(f'coco_folder {folder}: the training annotations name the classes {classes}, '
                         f'those of val also {sorted(missing)}')
    if needs_masks and not all(a.get('segmentation') for a in train['annotations'] if not a.get('iscrowd')):
        raise UsageError(f'coco_folder {folder}: some annotations have no segmentation, which this detector needs; '
                         'configs/retinanet_*.py take boxes alone')
    return classes
