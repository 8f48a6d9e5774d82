"""Readers of folders of data in COCO's format, of masks and of classes."""
import os

from mmvit_backbones.errors import UsageError

from .class_folder import read_class_folder
from .coco_folder import read_coco_folder
from .folders import FolderData
from .seg_folder import read_seg_folder

__all__ = ['FolderData', 'read_class_folder', 'read_coco_folder', 'read_folder', 'read_seg_folder']


def read_folder(argument: str, folder: str | os.PathLike, boxes_only: bool = False, **options) -> FolderData:
    """Returns the data sets of the folder that was passed as 'class_folder', 'coco_folder' or 'seg_folder'.

    Raises:
        UsageError: If the folder has another layout or unusable content, or ``boxes_only`` is for another task.
    """
    if argument == 'coco_folder':
        return read_coco_folder(folder, boxes_only=boxes_only, **options)
    if boxes_only:
        raise UsageError(f'boxes_only requires coco_folder, got {argument}')
    return (read_class_folder if argument == 'class_folder' else read_seg_folder)(folder, **options)
