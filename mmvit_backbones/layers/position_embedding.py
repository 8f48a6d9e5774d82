"""Learned absolute positions on a grid (ViT, Dosovitskiy et al., ICLR 2021, arXiv 2010.11929, section 3.2)."""
import math

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..ops.precision import at_least_float32
from ..ops.window import needs_padding


class PositionEmbedding(nn.Module):
    """One learned vector per position of a square grid, and one for the class token where there is one.

    Resized on load where the checkpoint's grid is another (bicubic, with one log line), and where the image's is.

    Args:
        grid_size (int): Side of the stored grid, in tokens.
        class_token (bool): Whether the first vector is that of a class token.
        interpolation (str): For images: ``'bicubic'``, or ``'bilinear'``, with the corners of the two grids on each
            other.
    """

    def __init__(self, grid_size: int, channels: int, class_token: bool = True, interpolation: str = 'bicubic') -> None:
        super().__init__()
        self.grid_size = grid_size
        self.num_extra = int(class_token)
        self.interpolation = interpolation
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_extra + grid_size**2, channels))
        self._register_load_state_dict_pre_hook(self._resize_on_load)

    def forward(self, height: int, width: int) -> Tensor:
        """Positions ``(1, height * width, channels)``, after the class token's if there is one."""
        if not needs_padding(height - self.grid_size, width - self.grid_size):
            return self.pos_embed
        return resize_positions(self.pos_embed, height, width, self.num_extra, self.interpolation)

    def _resize_on_load(self, state_dict: dict, prefix: str, *args) -> None:
        key = f'{prefix}pos_embed'
        table = state_dict.get(key)
        if table is None or table.ndim != 3 or table.shape[1:] == self.pos_embed.shape[1:]:
            return
        given = table.shape[1] - self.num_extra
        if round(given**0.5)**2 != given:
            raise ValueError(f'{key}: {table.shape[1]} positions are not those of a square grid after '
                             f'{self.num_extra} others')
        state_dict[key] = resize_positions(table, self.grid_size, self.grid_size, self.num_extra)
        print_log(f'{key}: resized from {given} to {self.grid_size**2} positions', logger='current')


def resize_positions(table: Tensor, height: int, width: int, num_extra: int, mode: str = 'bicubic') -> Tensor:
    """The square grid after the first ``num_extra`` vectors, in float32 at least; bilinear has aligned corners."""
    token, grid = table[:, :num_extra], table[:, num_extra:]
    side = math.isqrt(int(grid.shape[1]))
    grid = grid.unflatten(1, (side, side)).permute(0, 3, 1, 2).to(at_least_float32(table))
    grid = F.interpolate(grid, (height, width), mode=mode, align_corners=mode == 'bilinear')
    return torch.cat([token, grid.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
