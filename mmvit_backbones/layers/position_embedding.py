"""Learned absolute position embedding (ViT, Dosovitskiy et al., ICLR 2021, arXiv 2010.11929, sections 3.1 and 3.2)."""
from typing import Literal

import torch
from torch import Tensor, nn

from ..ops.resizing import resize_positions
from ..ops.sizes import ceil_div
from .resize import resize_on_load

Interpolation = Literal['bicubic', 'bilinear']


class PositionEmbedding(nn.Module):
    """Learned vectors for the positions of a square grid and, if ``class_token``, for a class token.

    The grid is resized at run time for images of another size, and bicubically on load for checkpoints with another
    grid. Resizing on load is logged.

    Args:
        patch_size (int): Side of a patch, in pixels.
        img_size (int): Side of the square images whose grid of position embeddings is stored, in pixels; rounded up to
            whole patches, to which images are padded.
        class_token (bool): Whether the first vector belongs to a class token.
        interpolation (str): Interpolation at run time: ``'bicubic'``, or ``'bilinear'`` with aligned corners.

    Raises:
        ValueError: If ``img_size`` is smaller than 1.
    """

    def __init__(self, channels: int, patch_size: int, img_size: int, class_token: bool = True,
                 interpolation: Interpolation = 'bicubic') -> None:
        super().__init__()
        if img_size < 1:
            raise ValueError(f'img_size must be at least 1, got {img_size}')
        self.grid_size = ceil_div(img_size, patch_size)
        self.num_prefix_tokens = int(class_token)
        self.interpolation: Interpolation = interpolation
        self.pos_embed = nn.Parameter(torch.empty(1, self.num_prefix_tokens + self.grid_size**2, channels))
        self.reset_parameters()
        resize_on_load(self, 'pos_embed', self.resize_table, dims=[1])

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.pos_embed)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Adds positions to tokens ``(B, [1 +] height * width, channels)``, the class token first if there is one."""
        return tokens + resize_positions(self.pos_embed, height, width, self.num_prefix_tokens, self.interpolation)

    def resize_table(self, table: Tensor, shape: torch.Size) -> Tensor:
        num_patches = table.shape[1] - self.num_prefix_tokens
        if round(num_patches**0.5)**2 != num_patches:
            raise ValueError(f'pos_embed must have {self.num_prefix_tokens} + n * n positions, got {table.shape[1]}')
        return resize_positions(table, self.grid_size, self.grid_size, self.num_prefix_tokens)
