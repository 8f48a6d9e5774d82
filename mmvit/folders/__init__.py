"""Readers of folders of data in COCO's format, of masks and of classes."""
from typing import Any

from .class_folder import read_class_folder
from .coco_folder import read_coco_folder
from .folders import FolderData
from .seg_folder import read_seg_folder

# Argument of a folder -> framework, and function that reads the folder.
FOLDERS: dict[str, tuple[str, Any]] = dict(
    class_folder=('mmpretrain', read_class_folder), coco_folder=('mmdet', read_coco_folder),
    seg_folder=('mmseg', read_seg_folder))

__all__ = ['FOLDERS', 'FolderData', 'read_class_folder', 'read_coco_folder', 'read_seg_folder']
