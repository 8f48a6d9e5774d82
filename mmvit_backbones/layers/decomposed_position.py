"""Relative positions of pooled attention, decomposed into rows and columns (MViTv2, arXiv 2112.01526, equation 4)."""
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from .init import trunc_normal_
from .precision import at_least_float32
from .recompute import recompute
from .window import needs_padding


class DecomposedPosition(nn.Module):
    """The product of a query with one learned vector for its distance in rows to a key, and one for that in columns.

    All heads share the tables. A table is interpolated (linear) where the picture's grids have another length, and on
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
            query (Tensor): ``(B, heads, h * w, channels)``, not scaled.
            query_grid (tuple[int, int]): h and w.
            key_grid (tuple[int, int]): h' and w'.

        Returns:
            tuple[Tensor, Tensor]: ``(B, heads, h, w, h', 1)`` and ``(B, heads, h, w, 1, w')``.
        """
        rows = self.vectors(self.rel_pos_h, query_grid[0], key_grid[0])
        columns = self.vectors(self.rel_pos_w, query_grid[1], key_grid[1])

        def products(query: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
            query = query.unflatten(2, query_grid)
            return (torch.einsum('bnhwc,hkc->bnhwk', query, rows).contiguous().unsqueeze(5),
                    torch.einsum('bnhwc,wkc->bnhwk', query, columns).contiguous().unsqueeze(4))

        return recompute(products, query, rows, columns)

    @staticmethod
    def vectors(table: Tensor, num_queries: int, num_keys: int) -> Tensor:
        """The vector of every pair along one axis, ``(num_queries, num_keys, channels)``."""
        longer = max(num_queries, num_keys)
        length = 2 * longer - 1
        if needs_padding(len(table) - length):
            table = resize_table(table, length)
        query, key = torch.arange(num_queries, device=table.device), torch.arange(num_keys, device=table.device)
        distance = query[:, None] * num_keys + (num_keys - 1 - key) * num_queries
        return table[distance // (num_queries + num_keys - longer)]

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
