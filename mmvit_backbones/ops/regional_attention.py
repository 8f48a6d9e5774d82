"""Attention in windows that share a map with their padding (RegionViT, Chen et al., ICLR 2022, arXiv 2106.02689).

Windows at the right and bottom reach over the map. What restricts their attention differs for the last column, the
last row and the corner alone, so windows are sorted by these kinds: each is one slice with one mask, and no mask is
made for every window.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .window import crop, needs_padding

# Windows of one kind: their number, which queries see anything, ``(N, 1)``, and which pairs of these are forbidden,
# ``(N, N)``, with ``N = 1 + window_size ** 2``; or None where there is no padding.
Group = tuple[int, tuple[Tensor, Tensor] | None]


@dataclass(frozen=True)
class WindowGrid:
    """One window of local tokens per regional token; the last row and column of windows may reach over the map.

    Windows come before the batch and, where there is padding, are sorted by what their attention may see: inner ones,
    the last column, the last row, the corner.
    """
    rows: int  # of regional tokens
    columns: int
    window_size: int  # side, in local tokens
    height: int  # of the map of local tokens
    width: int

    @property
    def padding(self) -> tuple[int, int]:
        """Rows below and columns to the right that the windows have in addition, each from 0 to ``window_size``."""
        return self.rows * self.window_size - self.height, self.columns * self.window_size - self.width

    @property
    def kinds(self) -> list[int]:
        """How many windows there are: inner, of the last column, of the last row, in the corner."""
        return [(self.rows - 1) * (self.columns - 1), self.rows - 1, self.columns - 1, 1]

    def partition(self, local: Tensor, regional: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, height, width, C)`` to ``(windows, B, w * w, C)``, ``(B, rows, columns, C)`` to ``(windows, B, C)``."""
        if needs_padding(*self.padding):
            local = F.pad(local, (0, 0, 0, self.padding[1], 0, self.padding[0]))
        local = local.unflatten(2, (self.columns, -1)).unflatten(1, (self.rows, -1)).permute(1, 3, 0, 2, 4, 5)
        return self._sort(local).flatten(2, 3), self._sort(regional.permute(1, 2, 0, 3))

    def reverse(self, local: Tensor, regional: Tensor) -> tuple[Tensor, Tensor]:
        """Reverses :meth:`partition` and drops the padding."""
        local = self._unsort(local).unflatten(3, (self.window_size, -1)).permute(2, 0, 3, 1, 4, 5)
        local = crop(local.flatten(1, 2).flatten(2, 3), self.height, self.width)
        return local, self._unsort(regional).permute(2, 0, 1, 3)

    def _sort(self, x: Tensor) -> Tensor:
        """``(rows, columns, ...)`` to ``(windows, ...)``."""
        if not needs_padding(*self.padding):
            return x.flatten(0, 1)
        parts = x.split([self.rows - 1, 1])
        kinds = [kind for part in parts for kind in part.split([self.columns - 1, 1], dim=1)]
        return torch.cat([kind.flatten(0, 1) for kind in kinds])

    def _unsort(self, x: Tensor) -> Tensor:
        rows, columns = self.rows, self.columns
        if not needs_padding(*self.padding):
            return x.unflatten(0, (rows, columns))
        inner, last_column, last_row, corner = x.split(self.kinds)
        inner = torch.cat([inner.unflatten(0, (rows - 1, columns - 1)), last_column.unsqueeze(1)], dim=1)
        return torch.cat([inner, torch.cat([last_row, corner]).unsqueeze(0)])

    def groups(self, like: Tensor) -> list[Group]:
        """The kinds of windows of a batch ``like`` that occur, in order, with their masks."""
        if not needs_padding(*self.padding):
            return [(self.rows * self.columns * like.shape[0], None)]
        masks = edge_masks(self.window_size, *self.padding, like.device)
        return [(count * like.shape[0], mask) for count, mask in zip(self.kinds, [None, *masks])
                if needs_padding(count)]


def edge_masks(window_size: int, pad_bottom: int, pad_right: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """What the windows of the last column, the last row and the corner see, and what not: two of a ``Group`` for each.

    Tokens of the padding neither see nor are seen. In the corner, a pair that only one of the two paddings forbids is
    allowed: so were the published weights trained, and therefore nothing is masked there if one side is not padded.
    """
    position = torch.arange(window_size, device=device)
    in_column = F.pad((position < window_size - pad_right).repeat(window_size), (1, 0), value=True)
    in_row = F.pad((position < window_size - pad_bottom).repeat_interleave(window_size), (1, 0), value=True)
    column, row = in_column[:, None] & in_column, in_row[:, None] & in_row
    allowed = [(pairs, pairs.any(-1, keepdim=True)) for pairs in (column, row, column | row)]
    return [(sees, sees & ~pairs) for pairs, sees in allowed]


def regional_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, groups: list[Group]) -> Tensor:
    """``softmax(q k^T / sqrt(d) + bias) v`` in windows, each of which sees what its kind may see.

    A query that may see nothing takes the mean of all values.

    Args:
        q, k, v (Tensor): ``(windows * B, num_heads, N, d)``, sorted as :meth:`WindowGrid.partition` does.
        bias (Tensor): ``(num_heads, N, N)``.
        groups (list[Group]): What :meth:`WindowGrid.groups` gives.

    Returns:
        Tensor: ``(windows * B, num_heads, N, d)``.
    """
    sizes, outs = [count for count, _ in groups], []
    for query, key, value, (_, mask) in zip(q.split(sizes), k.split(sizes), v.split(sizes), groups):
        group_bias = bias
        if mask is not None:
            sees, forbidden = mask
            query, group_bias = query * sees, (bias * sees).masked_fill(forbidden, -torch.inf)
        outs.append(F.scaled_dot_product_attention(query, key, value, attn_mask=group_bias[None]))
    return outs[0] if len(outs) == 1 else torch.cat(outs)


def reference(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, allowed: Tensor) -> Tensor:
    """The formula, with a mask ``(windows * B, N, N)`` of the pairs that are allowed."""
    logits = q @ k.transpose(-2, -1) * q.shape[-1]**-0.5 + bias
    logits = logits.masked_fill(~allowed.unsqueeze(1), -torch.finfo(q.dtype).max)
    return logits.softmax(-1) @ v

