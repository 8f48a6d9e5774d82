"""Names the image that ends a run because it cannot be read."""
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mmvit_backbones.errors import TrainingError

from ..utils.images import quick_error

LOADING = 'transforms/loading.py'  # of mmcv, mmdet, mmseg and mmpretrain


@contextmanager
def named_images(runner: Any, *splits: str) -> Iterator[None]:
    """Replaces an exception of the transforms that load images by one line with the file.

    Searches the data sets of the runner only after such an exception, so that a run without a fault is as it was.

    Args:
        runner (Any): Runner of MMEngine.
        splits (str): Splits that the run uses, of 'train', 'val' and 'test'.

    Raises:
        TrainingError: If a transform failed because an image or a mask cannot be read.
    """
    try:
        yield
    except Exception as error:
        text = ''.join(traceback.format_exception(error))  # of a worker process, the message has its traceback
        if LOADING not in text:
            raise
        named = re.search(r'AssertionError: failed to load image: (.+)', text)
        if named:
            found = quick_error(named[1]) or f'image {named[1]} cannot be read'
        else:  # OpenCV and Pillow do not name the file
            found = next(filter(None, map(quick_error, _files(runner, splits))), '')
        if not found:
            raise
        raise TrainingError(f'{found}; mmvit data check finds all such files') from error


def _files(runner: Any, splits: Iterable[str]) -> Iterator[str]:
    """Yields the images and masks of a runner's data sets."""
    for split in splits:
        dataset: Any = getattr(getattr(getattr(runner, f'{split}_loop'), 'dataloader', None), 'dataset', None)
        if hasattr(dataset, 'get_data_info'):
            for index in range(len(dataset)):
                info = dataset.get_data_info(index)
                yield from (info[key] for key in ('img_path', 'seg_map_path') if info.get(key))
