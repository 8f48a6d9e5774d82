"""Readers of folders of data in COCO's format, of masks and of classes."""
import os
from collections.abc import Sequence

from mmvit_backbones.errors import UsageError

from .class_folder import read_class_folder
from .coco_folder import read_coco_folder
from .folders import FolderData, Split, output_folder
from .seg_folder import read_seg_folder

__all__ = ['FolderData', 'read_folder']


def read_folder(argument: str, folder: str | os.PathLike, boxes_only: bool = False, *,
                val_fraction: float | None = None, split_seed: int = 0, out: str | os.PathLike | None = None,
                classes: Sequence[str] | None = None) -> FolderData:
    """Returns the data sets of the folder that was passed as 'class_folder', 'coco_folder' or 'seg_folder'.

    What is wrong with names, annotations and images is said by :meth:`.FolderData.check`.

    Args:
        argument (str): Name of the argument.
        folder (str | PathLike): Folder with the data; ``docs/own_data.md`` describes the layout.
        boxes_only (bool): Whether to use only the boxes of a detector's objects. Defaults to False: masks, unless no
            object has one.
        val_fraction (float | None): Fraction of the images for validation. Defaults to None: those in ``val/``.
        split_seed (int): Seed of the split by ``val_fraction``. Defaults to 0.
        out (str | PathLike | None): Folder for repaired annotation files and lists of images. Defaults to None: a
            temporary folder, removed at exit.
        classes (Sequence[str] | None): Classes of a training, whose model is tested on the validation images, which
            alone are read then. Defaults to None: the names in the folder.

    Raises:
        UsageError: If the folder has another layout, files cannot be read, or ``boxes_only`` is for another task.
    """
    arguments = os.fspath(folder), Split(val_fraction, split_seed), output_folder(out), classes
    if argument == 'coco_folder':
        return read_coco_folder(*arguments, boxes_only)
    if boxes_only:
        raise UsageError(f'boxes_only requires coco_folder, got {argument}')
    return (read_class_folder if argument == 'class_folder' else read_seg_folder)(*arguments)
