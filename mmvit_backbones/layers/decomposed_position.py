"""Relative positions of pooled attention, decomposed into rows and columns (MViTv2, arXiv 2112.01526, equation 4)."""
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..ops.precision import at_least_float32
from ..ops.recompute import recomputable, recompute_input
from ..ops.window import needs_padding
from .block import trunc_normal_


class DecomposedPosition(nn.Module):
    """The product of a query with one learned vector for its distance in rows to a key, and one for that in columns.

    All heads share the tables. A table is interpolated (linear) where the image's grids have another length, and on
    load where the checkpoint's have, with one log line.

    Args:
        channels (int): Channels of a head.
        query_grid (tuple[int, int]): Rows and columns of the queries that the tables are for.
        key_grid (tuple[int, int]): Rows and columns of the keys.
    """

    def __init__(self, channels: int, query_grid: tuple[int, int], key_grid: tuple[int, int]) -> None:
        super().__init__()
        self.rel_pos_h, self.rel_pos_w = (
            nn.Parameter(torch.empty(2 * max(lengths) - 1, channels)) for lengths in zip(query_grid, key_grid))
        for table in self.parameters():
            trunc_normal_(table)
        self._register_load_state_dict_pre_hook(self._resize_on_load)

    def forward(self, query: Tensor, query_grid: tuple[int, int], key_grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What rows and columns add to the logits.

        Args:
            query (Tensor): ``(B, num_heads, h, w, channels)``, not scaled.
            query_grid (tuple[int, int]): h and w.
            key_grid (tuple[int, int]): h' and w'.

        Returns:
            tuple[Tensor, Tensor]: ``(B, num_heads, h * w, h')`` for the rows of the keys, ``(B, num_heads, h * w, w')``
            for their columns.
        """
        b, num_heads = query.shape[:2]
        rows = self.vectors(self.rel_pos_h, query_grid[0], key_grid[0])
        columns = self.vectors(self.rel_pos_w, query_grid[1], key_grid[1])
        by_row = recomputable(lambda q: q.permute(2, 0, 1, 3, 4).reshape(query_grid[0], -1, q.shape[-1]), query)
        rows = recompute_input(lambda q: q @ rows.transpose(1, 2), by_row)
        rows = rows.unflatten(1, (b, num_heads, query_grid[1])).permute(1, 2, 0, 3, 4)
        by_column = recomputable(lambda q: q.permute(3, 0, 1, 2, 4).reshape(query_grid[1], -1, q.shape[-1]), query)
        columns = recompute_input(lambda q: q @ columns.transpose(1, 2), by_column)
        columns = columns.unflatten(1, (b, num_heads, query_grid[0])).permute(1, 2, 3, 0, 4)
        return rows.flatten(2, 3), columns.flatten(2, 3)

    @staticmethod
    def vectors(table: Tensor, num_queries: int, num_keys: int) -> Tensor:
        """The vector of every pair along one axis, ``(num_queries, num_keys, channels)``."""
        longer = max(num_queries, num_keys)
        length = 2 * longer - 1
        if needs_padding(len(table) - length):
            table = resize_table(table, length)
        query = torch.arange(num_queries, device=table.device) * num_keys
        key = torch.arange(num_keys - 1, -1, -1, device=table.device) * num_queries
        distance = (query[:, None] + key) // (num_queries + num_keys - longer)
        return table.index_select(0, distance.flatten()).unflatten(0, (num_queries, num_keys))

    def _resize_on_load(self, state_dict: dict, prefix: str, *args) -> None:
        for name, own in self.named_parameters():
            key = prefix + name
            table = state_dict.get(key)
            if table is not None and table.shape != own.shape and table.shape[1:] == own.shape[1:]:
                state_dict[key] = resize_table(table, len(own))
                print_log(f'{key}: resized from {len(table)} to {len(own)} distances', logger='current')


def resize_table(table: Tensor, length: int) -> Tensor:
    """Linear, along the distances; in float32 at least."""
    resized = F.interpolate(table.T[None].to(at_least_float32(table)), length, mode='linear')
    return resized[0].T.to(table.dtype)
