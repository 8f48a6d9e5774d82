"""Point a detector's config to a folder of one's own."""
import json
import os.path as osp

from mmengine.config import Config

from .config import UsageError, dicts_in, leaf_datasets
from .data_check import check_data


def use_coco_folder(cfg: Config, folder: str) -> None:
    """Train on FOLDER instead of COCO, with the classes that its annotations name, after checking that all is there.

    Args:
        cfg (mmengine.Config): A detector's config; changed in place.
        folder (str): Holds `annotations/instances_{train,val}.json`, `train/` and `val/`.
    """
    if cfg.default_scope != 'mmdet':
        raise UsageError(f'--coco-folder is for detectors, and {cfg.filename} has default_scope={cfg.default_scope!r}')
    for split, part in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        for dataset in leaf_datasets(cfg[f'{split}_dataloader'].dataset):
            dataset.update(type='CocoDataset', data_root=osp.join(folder, ''), data_prefix=dict(img=f'{part}/'),
                           ann_file=f'annotations/instances_{part}.json')
        for metric in dicts_in(cfg.get(f'{split}_evaluator')):
            if 'ann_file' in metric:
                metric['ann_file'] = osp.join(folder, f'annotations/instances_{part}.json')
    check_data(cfg, ['train', 'val'])
    needs_masks = 'mask_head' in cfg.model.get('roi_head', {}) or 'panoptic_head' in cfg.model
    classes = _read_classes(folder, needs_masks)
    for split in ('train', 'val', 'test'):
        for dataset in leaf_datasets(cfg[f'{split}_dataloader'].dataset):
            dataset.metainfo = dict(classes=classes)
    for head in dicts_in(cfg.model):
        if 'num_classes' in head:
            head['num_classes'] = len(classes)
        elif 'num_things_classes' in head:  # Mask2Former
            head['num_things_classes'] = len(classes)
            if 'loss_cls' in head:
                head['loss_cls']['class_weight'] = [1.0] * len(classes) + [0.1]


def _read_classes(folder: str, needs_masks: bool) -> tuple[str, ...]:
    """The names of the classes, which both splits must share, in the order of the training annotations."""
    train, val = (_read_annotations(osp.join(folder, f'annotations/instances_{split}.json'))
                  for split in ('train', 'val'))
    classes = tuple(category['name'] for category in train['categories'])
    missing = {category['name'] for category in val['categories']} - set(classes)
    if not classes or missing:
        raise UsageError(f'--coco-folder {folder}: the training annotations name the classes {classes}, '
                         f'those of val also {sorted(missing)}')
    if needs_masks and not all(a.get('segmentation') for a in train['annotations'] if not a.get('iscrowd')):
        raise UsageError(f'--coco-folder {folder}: some annotations have no segmentation, which this detector needs; '
                         'configs/retinanet_*.py take boxes alone')
    return classes


def _read_annotations(file: str) -> dict:
    try:
        with open(file, encoding='utf-8') as stream:
            content = json.load(stream)
        return {key: content[key] for key in ('images', 'annotations', 'categories')}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f'{file} is not in COCO format: {type(error).__name__}: {error}') from error
