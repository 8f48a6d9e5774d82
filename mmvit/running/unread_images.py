"""Names the image or mask that ended a run."""
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mmvit_backbones.errors import TrainingError

from ..folders.images import image_info

LOADING = 'transforms/loading.py'  # of mmcv, mmdet, mmseg and mmpretrain


@contextmanager
def unread_image_named(datasets: Callable[[], Iterable[Any]]) -> Iterator[None]:
    """Replaces an exception of the transforms that load images by one line with the file.

    Args:
        datasets (Callable): Returns the data sets, which are searched only after such an exception.

    Raises:
        TrainingError: If a transform failed because an image or a mask cannot be read.
    """
    try:
        yield
    except Exception as error:
        text = ''.join(traceback.format_exception(error))  # of a worker process, the message has its traceback
        if LOADING not in text:
            raise
        named = re.search(r'AssertionError: failed to load image: (.+)', text)  # Pillow does not name the file
        paths = [named[1]] if named else [path for dataset in datasets() for path in files_in(dataset)]
        quick_first = ((decodes, path) for decodes in (False, True) for path in paths)
        faults = (image_info(path, decodes=decodes).fault for decodes, path in quick_first)
        found = next(filter(None, faults), '')
        if not found:
            raise
        raise TrainingError(f'{found}; mmvit data check finds all such files') from error


def files_in(dataset: Any) -> Iterator[str]:
    """Yields the images and masks of a data set, if it can tell them."""
    for index in range(len(dataset) if hasattr(dataset, 'get_data_info') else 0):
        info = dataset.get_data_info(index)
        yield from (info[key] for key in ('img_path', 'seg_map_path') if info.get(key))
