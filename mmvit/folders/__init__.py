"""Readers of folders of data in COCO's format, of masks and of classes."""
import os

from mmvit_backbones.errors import UsageError

from .class_folder import read_class_folder
from .coco_folder import read_coco_folder
from .folders import FolderData
from .other_formats import other_format
from .seg_folder import read_seg_folder

__all__ = ['FolderData', 'read_class_folder', 'read_coco_folder', 'read_folder', 'read_seg_folder']


def read_folder(argument: str, folder: str | os.PathLike, boxes_only: bool = False, **options) -> FolderData:
    """Returns the data sets of the folder that was passed as 'class_folder', 'coco_folder' or 'seg_folder'.

    Raises:
        UsageError: If the folder has another layout, of which that of other programs is named, or unusable content, or
            ``boxes_only`` is for another task.
    """
    if boxes_only and argument != 'coco_folder':
        raise UsageError(f'boxes_only requires coco_folder, got {argument}')
    try:
        if argument == 'coco_folder':
            return read_coco_folder(folder, boxes_only=boxes_only, **options)
        return (read_class_folder if argument == 'class_folder' else read_seg_folder)(folder, **options)
    except UsageError as error:
        if other := other_format(argument, os.fspath(folder)):
            raise UsageError(f'{error}; {other}') from error
        raise
