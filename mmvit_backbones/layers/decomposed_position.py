"""Decomposed relative positions of pooled attention (MViTv2, Li et al., CVPR 2022, arXiv 2112.01526)."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..ops.exportable import floor_quotient
from ..ops.resizing import interpolate
from .block import trunc_normal_
from .resize import resize_on_load


class DecomposedPosition(nn.Module):
    """Relative position term of attention logits, the sum of a term for rows and a term for columns.

    Paper: arXiv 2112.01526, equation 4.

    Each term is the product of the query with a learned vector for the distance between query and key. All heads share
    the two tables of vectors. Tables are interpolated linearly: at run time for other grids, and on load for
    checkpoints with other grids. Interpolation on load is logged.

    Args:
        channels (int): Channels of a head.
        query_grid (tuple[int, int]): Rows and columns of queries for which the tables are stored.
        key_grid (tuple[int, int]): Rows and columns of keys for which the tables are stored.
    """

    def __init__(self, channels: int, query_grid: tuple[int, int], key_grid: tuple[int, int]) -> None:
        super().__init__()
        (height, width), (key_height, key_width) = query_grid, key_grid
        self.rel_pos_h = nn.Parameter(torch.empty(2 * max(height, key_height) - 1, channels))
        self.rel_pos_w = nn.Parameter(torch.empty(2 * max(width, key_width) - 1, channels))
        self.reset_parameters()
        for name in ('rel_pos_h', 'rel_pos_w'):
            resize_on_load(self, name, resize_table, dims=[0])

    def reset_parameters(self) -> None:
        trunc_normal_(self.rel_pos_h)
        trunc_normal_(self.rel_pos_w)

    def forward(self, query: Tensor, key_grid: tuple[int, int]) -> Tensor:
        """Returns the position terms of the logits, ``(B, num_heads, h * w, h' * w')``.

        Paper: arXiv 2112.01526, equation 3.

        ``query`` is ``(B, num_heads, h, w, channels)``, not scaled by ``1 / sqrt(d)``; ``key_grid`` is ``(h', w')``.
        """
        (height, width), (key_height, key_width) = query.shape[2:4], key_grid
        rows = torch.einsum('bnyxc,ykc->bnyxk', query, self.vectors(self.rel_pos_h, height, key_height))
        columns = torch.einsum('bnyxc,xkc->bnyxk', query, self.vectors(self.rel_pos_w, width, key_width))
        return (rows.flatten(2, 3).unsqueeze(-1) + columns.flatten(2, 3).unsqueeze(-2)).flatten(3)

    @staticmethod
    def vectors(table: Tensor, num_queries: int, num_keys: int) -> Tensor:
        """Returns the vectors for all pairs of query and key along an axis, ``(num_queries, num_keys, channels)``."""
        longer = max(num_queries, num_keys)
        table = resize_table(table, (2 * longer - 1, table.shape[1]))
        query = torch.arange(num_queries, device=table.device) * num_keys
        key = torch.arange(num_keys - 1, -1, -1, device=table.device) * num_queries
        shorter = num_queries + num_keys - longer
        distance = floor_quotient(query[:, None] + key, shorter)  # in tokens of the finer grid, starting at 0
        return table.index_select(0, distance.flatten()).unflatten(0, (num_queries, num_keys))


def resize_table(table: Tensor, shape: Sequence[int]) -> Tensor:
    """Resizes a table ``(distances, channels)`` linearly along the distances."""
    return interpolate(table.T[None], shape[:1], 'linear')[0].T
