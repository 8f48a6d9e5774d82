"""Changes the image size in the data steps of a config."""
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mmengine.config import Config

from ..errors import UsageError
from ..utils.config import LOADERS, datasets_of, dicts_in

Size = tuple[int, int]  # height and width

# Arguments with sizes, by data step, and the order in which the step expects height (h) and width (w). The arguments in
# SHORT_SIDES are lengths of the short side.
SIZES = {
    'Resize': dict(scale='wh'), 'RandomResize': dict(scale='wh'), 'RandomChoiceResize': dict(scales='wh'),
    'ResizeByOrientation': dict(scale='wh'), 'Pad': dict(size='wh'), 'CenterCrop': dict(crop_size='wh'),
    'RandomResizedCrop': dict(scale='hw'), 'RandomCrop': dict(crop_size='hw'), 'BatchFixedSizePad': dict(size='hw'),
    'SegDataPreProcessor': dict(size='hw')}
SHORT_SIDES = {'ResizeEdge': ('scale', ), 'ResizeShortestEdge': ('scale', 'max_size'),
               'RandomChoiceResize': ('max_size', ), 'PoolTokenLabels': ('grid_size', )}
WINDOWS = 'crop_size', 'stride'  # of sliding windows in model.test_cfg, height first


def resize_data(cfg: Config, size: Sequence[int]) -> tuple[Size, Size]:
    """Multiplies all sizes in a config's data steps, so that the images have another size.

    Args:
        cfg (Config): Changed in place.
        size (Sequence[int]): ``(N, )`` for the side of crops, or for detectors the short side of the images; the other
            sizes of the data steps are multiplied by the same factor.
            ``(height, width)`` for crops of this size; a detector's images are fitted into it, as landscape or
            portrait, without changing their aspect ratio if the config keeps it.

    Returns:
        tuple[Size, Size]: Height and width of the images that the network gets, before and after the change. For a
        detector that keeps the aspect ratio, both are upper limits.

    Raises:
        UsageError: If the config's data steps set no image size, or ``size`` is not one or two positive integers.
    """
    if not 1 <= len(size) <= 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise UsageError(f'size must be one or two positive integers, got {list(size)}')
    old = image_size(cfg)
    if len(size) == 1:
        factors = size[0] / min(old), size[0] / min(old)
        new = round(old[0] * factors[0]), round(old[1] * factors[1])
    else:
        new = min(size), max(size)
        if cfg.default_scope != 'mmdet':
            new = size[0], size[1]
        factors = new[0] / old[0], new[1] / old[1]
    for change in changes(cfg):
        change(*factors)
    return old, new


def image_size(cfg: Config) -> Size:
    """Returns the height and width of the images in a config's test; for segmenters, of the training's crops."""
    steps = {}
    for split in ('test', 'train'):
        for dataset in datasets_of(cfg, split):
            steps = {str(node.get('type')): node for node in dicts_in(dataset.get('pipeline'))} | steps
    for name, key in (('RandomCrop', 'crop_size'), ) * (cfg.default_scope == 'mmseg') + (
            ('CenterCrop', 'crop_size'), ('RandomResizedCrop', 'scale'), ('Resize', 'scale'),
            ('ResizeByOrientation', 'scale')):
        if value := steps.get(name, {}).get(key):
            first, second = [value, value] if isinstance(value, int) else value
            if cfg.default_scope == 'mmdet':
                return min(first, second), max(first, second)
            return (first, second) if SIZES[name][key] == 'hw' else (second, first)
    raise UsageError(f'the data steps of {cfg.filename} set no image size')


def changes(cfg: Config) -> Iterator[Callable[[float, float], None]]:
    """Yields a function per size in the data steps, which multiplies the size's height and width by two factors."""
    parts = [cfg.get(key) for key in (*LOADERS, 'tta_pipeline', 'model', 'data_preprocessor')]
    windows = cfg.model.get('test_cfg')
    nodes = {id(node): node for part in parts for node in dicts_in(part)}  # configs share steps between splits
    for node in nodes.values():
        kind = str(node.get('type')).rpartition('.')[2]
        orders = {**SIZES.get(kind, {}), **dict.fromkeys(SHORT_SIDES.get(kind, ()), '')}
        for key, order in (dict.fromkeys(WINDOWS, 'hw') if node is windows else orders).items():
            if node.get(key) and not str(node.get('crop_type')).startswith('relative'):
                yield partial(multiply, node, key, order, cfg.default_scope == 'mmdet')


def multiply(node: dict, key: str, order: str, is_sorted: bool, height: float, width: float) -> None:
    """Multiplies the sizes in ``node[key]``.

    Args:
        node (dict): Config of a data step, changed in place.
        key (str): Name of the argument: a number, a pair, or a list of numbers or pairs.
        order (str): ``'hw'`` or ``'wh'``; empty if a number is the length of the short side, and not of both sides.
        is_sorted (bool): Whether the smaller number of a pair is the height, as in mmdet, where the order is arbitrary.
        height, width (float): Factors.
    """
    def changed(value):
        if isinstance(value, int):
            return max(1, round(value * max(height, width)))
        if not isinstance(value[0], int):
            return [changed(each) for each in value]
        is_height_first = value[0] < value[1] if is_sorted else order == 'hw'
        factors = (height, width) if is_height_first else (width, height)
        return tuple(max(1, round(side * factor)) for side, factor in zip(value, factors))

    value = node[key]
    if isinstance(value, (list, tuple)) and isinstance(value[0], int) and key == 'scales':
        node[key] = [changed(side) for side in value]
    else:
        node[key] = changed((value, value) if isinstance(value, int) and order and height != width else value)
