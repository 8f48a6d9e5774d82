"""Learned absolute positions on a grid (ViT, Dosovitskiy et al., ICLR 2021, arXiv 2010.11929, section 3.2)."""
import math
from typing import Literal

import torch
from torch import Tensor, nn

from ..ops.sizes import may_be_nonzero
from .resize import interpolate, resize_on_load

Interpolation = Literal['bicubic', 'bilinear']


class PositionEmbedding(nn.Module):
    """One learned vector per position of a square grid, and one for the class token if ``class_token``.

    Resized on load if the checkpoint has another grid (bicubic, logged), and at run time if the image has.

    Args:
        patch_size, img_size (int): Sides of a patch, and of the images for which positions are stored, in pixels.
        class_token (bool): Whether the first vector belongs to a class token.
        interpolation (str): At run time: ``'bicubic'``, or ``'bilinear'`` with aligned corners.

    Raises:
        ValueError: If images of ``img_size`` have no patch.
    """

    def __init__(self, channels: int, patch_size: int, img_size: int, class_token: bool = True,
                 interpolation: Interpolation = 'bicubic') -> None:
        super().__init__()
        if img_size < patch_size:
            raise ValueError(f'img_size must be at least {patch_size}, got {img_size}')
        self.grid_size = img_size // patch_size
        self.num_extra = int(class_token)
        self.interpolation: Interpolation = interpolation
        self.pos_embed = nn.Parameter(torch.empty(1, self.num_extra + self.grid_size**2, channels))
        self.reset_parameters()
        resize_on_load(self, 'pos_embed', self.resize_table, dims=[1])

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.pos_embed)

    def forward(self, height: int, width: int) -> Tensor:
        """Returns positions ``(1, height * width, channels)``, after that of the class token if there is one."""
        if not may_be_nonzero(height - self.grid_size, width - self.grid_size):
            return self.pos_embed
        return resize_positions(self.pos_embed, height, width, self.num_extra, self.interpolation)

    def resize_table(self, table: Tensor, shape: torch.Size) -> Tensor:
        given = table.shape[1] - self.num_extra
        if round(given**0.5)**2 != given:
            raise ValueError(f'pos_embed: {table.shape[1]} positions are not those of a square grid after '
                             f'{self.num_extra} others')
        return resize_positions(table, self.grid_size, self.grid_size, self.num_extra)


def resize_positions(table: Tensor, height: int, width: int, num_extra: int,
                     mode: Interpolation = 'bicubic') -> Tensor:
    """Resizes the square grid after the first ``num_extra`` vectors; bilinear aligns corners."""
    token, grid = table[:, :num_extra], table[:, num_extra:]
    side = math.isqrt(int(grid.shape[1]))
    grid = grid.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = interpolate(grid, (height, width), mode, align_corners=mode == 'bilinear')
    return torch.cat([token, grid.flatten(2).transpose(1, 2)], dim=1)
