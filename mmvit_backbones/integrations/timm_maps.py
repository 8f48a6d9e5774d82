"""How maps of timm's networks cover the image, which the networks tell by the cells of their maps."""
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import first_line
from ..ops.sizes import ceil_div, to_multiple


class Maps(NamedTuple):
    """How maps cover images whose sides are multiples of the largest stride.

    Args:
        image_size (tuple[int, int] | None): The only height and width that the network takes. Defaults to None: any.
        is_resized (tuple[bool, ...]): Whether each map has more cells than side / stride, as the network rounds up; ()
            if the network refuses the sizes that it was asked for. Defaults to ().
        refusals (tuple[str, ...]): Why each map does not cover the image; '' if it does.
    """

    image_size: tuple[int, int] | None = None
    is_resized: tuple[bool, ...] = ()
    refusals: tuple[str, ...] = ()


def ask_maps(network: Any, levels: list[int], own: tuple[int, int, int], is_fixed: bool) -> Maps:
    """Returns how maps cover images, by their cells at three sizes in a row: even numbers of cells hide rounding.

    Args:
        network (nn.Module): Network of timm in evaluation mode; on the meta device, it computes shapes alone.
        levels (list[int]): Ascending indices for its ``forward_intermediates``.
        own (tuple[int, int, int]): Channels, height and width of its own images, at which the sizes begin.
        is_fixed (bool): Whether it may take images of its own size alone.

    Raises:
        RuntimeError: If the network is on the meta device, but reads values.
    """
    strides = [info['reduction'] for info in network.feature_info]
    channels, height, width = own
    multiple = max(strides[:levels[-1] + 1])
    sizes = [tuple(to_multiple(side, multiple) + i * multiple for side in (height, width)) for i in range(3)]
    image_size, cells = None, cells_of(network, levels, channels, sizes)
    if is_fixed and isinstance(cells, str):
        image_size, sizes = (height, width), [(height, width)]
        cells = cells_of(network, levels, channels, sizes)
    if isinstance(cells, str):
        return Maps(refusals=(cells, ) * len(levels))
    whole = np.array([[[ceil_div(side, strides[level]) for side in size] for level in levels] for size in sizes])
    refusals = []
    for i, level in enumerate(levels):
        refusals.append('' if np.all(cells[:, i] >= whole[:, i]) else (
            f'{network.feature_info[level]["module"]}, of stride {strides[level]}, has {by(cells[-1, i])} cells, not '
            f'{by(whole[-1, i])}, for {by(sizes[-1])} pixels, as the network resizes images, or does not pad them'))
    return Maps(image_size, tuple(np.any(cells > whole, (0, 2)).tolist()), tuple(refusals))


def by(size: Iterable[int]) -> str:
    return ' x '.join(map(str, size))


@torch.no_grad()
def cells_of(network: Any, levels: list[int], channels: int, sizes: list[tuple[int, ...]]) -> np.ndarray | str:
    """Returns the rows and columns of maps, ``(sizes, levels, 2)``, or which size of images the network refuses."""
    device, cells = next(network.parameters()).device, []
    for size in sizes:
        images = torch.zeros(1, channels, *size, device=device)
        try:
            maps = network.forward_intermediates(images, indices=levels, stop_early=True, intermediates_only=True)
        except (AssertionError, RuntimeError, ValueError) as error:
            if 'meta tensor' in str(error):
                raise
            return f'the network refuses images of {by(size)} pixels ({first_line(error)})'
        cells.append([x.shape[2:] for x in maps])
    return np.array(cells)
