"""Data sets, samplers, transforms and metrics that OpenMMLab lacks; importing this package registers them."""
from typing import Any

from . import metrics  # noqa: F401
from .class_folder import read_class_folder
from .coco_folder import read_coco_folder
from .folders import FolderData
from .repeated_augmentation import RepeatedAugmentationSampler
from .resize_by_orientation import ResizeByOrientation
from .resumable import ResumableBatchSampler, SeededDataset
from .seg_folder import read_seg_folder
from .token_labels import LoadTokenLabels, PoolTokenLabels, TransformWithTokenLabels

# Argument of a folder -> framework, and function that reads the folder.
FOLDERS: dict[str, tuple[str, Any]] = dict(
    class_folder=('mmpretrain', read_class_folder), coco_folder=('mmdet', read_coco_folder),
    seg_folder=('mmseg', read_seg_folder))

__all__ = ['FOLDERS', 'FolderData', 'LoadTokenLabels', 'PoolTokenLabels', 'RepeatedAugmentationSampler',
           'ResizeByOrientation', 'ResumableBatchSampler', 'SeededDataset', 'TransformWithTokenLabels',
           'read_class_folder', 'read_coco_folder', 'read_seg_folder']
