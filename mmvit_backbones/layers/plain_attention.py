"""Window, global and linear attention without position bias, and the gate of attention residuals."""
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.precision import at_least_float32, without_autocast
from ..ops.window import crop, pad, window_padding, window_partition, window_reverse


class WindowAttention(nn.Module):
    """Attention within non-overlapping windows, without shift, mask or position bias.

    Paper: arXiv 2202.10108, window attention.

    Before the QKV projection, the map is zero-padded on all sides to whole windows. Padding tokens are attended to.
    """

    def __init__(self, in_channels: int, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.qkv = nn.Linear(in_channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, H, W, in_channels)`` to ``(B, H, W, channels)``."""
        height, width = x.shape[1:3]
        top, left, bottom, right = window_padding(height, width, self.window_size, centered=True)
        x = pad(x, top, left, bottom, right)
        padded_height, padded_width = x.shape[1:3]
        q, k, v = window_partition(self.qkv(x), self.num_heads, self.window_size)
        windows = q.shape[:2]
        q, k, v = (y.flatten(0, 1) for y in (q, k, v))  # PyTorch fuses four dimensions alone
        x = F.scaled_dot_product_attention(q, k, v).unflatten(0, windows)
        x = window_reverse(x, self.window_size, padded_height, padded_width)
        return self.proj(crop(x, height, width, top, left))


class GlobalAttention(nn.Module):
    """Attention between all tokens.

    Args:
        qkv_bias (bool): Whether the projection to query, key and value has a bias.
        value_skip (bool): Whether to add the values to the output, in place of a residual connection.
    """

    def __init__(self, in_channels: int, channels: int, num_heads: int, qkv_bias: bool = True,
                 value_skip: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.value_skip = value_skip
        self.qkv = nn.Linear(in_channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens ``(B, ..., in_channels)`` to ``(B, ..., channels)``."""
        qkv = self.qkv(x)
        query, key, value = qkv.flatten(1, -2).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out = self.proj(attended).unflatten(1, x.shape[1:-1])
        if self.value_skip:
            _, _, values = qkv.chunk(3, dim=-1)
            out = out + values
        return out


class LinearAttention(nn.Module):
    """Attention with random features and a single head; the cost is linear in the number of tokens.

    This is the attention of Performer (Choromanski et al., ICLR 2021, arXiv 2009.14794) as used in T2T-ViT (Yuan et
    al., ICCV 2021, arXiv 2101.11986), with half as many features as channels. The features are exponentials, and are
    computed in at least float32, even under autocast. The values are added to the output after dropout.
    """
    features: Tensor

    def __init__(self, in_channels: int, channels: int, drop_rate: float = 0.) -> None:
        super().__init__()
        num_features = channels // 2
        self.kqv = nn.Linear(in_channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(drop_rate)
        self.register_buffer('features', torch.empty(num_features, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.features, gain=len(self.features)**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, H, W, in_channels)`` to ``(B, H, W, channels)``."""
        key, query, value = self.kqv(x).chunk(3, dim=-1)
        with without_autocast(x.device.type):
            k, q, v = (t.flatten(1, 2).to(at_least_float32(t)) for t in (key, query, value))
            k, q = self.kernel(k), self.kernel(q)
            attended = q @ (k.transpose(1, 2) @ v) / (q @ k.sum(1).unsqueeze(-1) + 1e-8)
        return value + self.dropout(self.proj(attended.to(value.dtype))).view_as(value)

    def kernel(self, x: Tensor) -> Tensor:
        """Maps ``(B, N, channels)`` to positive random features ``(B, N, num_features)``."""
        features = self.features.to(x.dtype)
        return torch.exp(x @ features.T - x.square().sum(-1, keepdim=True) / 2) * len(features)**-0.5


class Gate(nn.Module):
    """Learned weight of a block's own logits in attention residuals, an unbounded scalar shared by all blocks.

    Paper: arXiv 2402.11301, equation 5.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Returns a copy of the weight ``(1, )``, which does not depend on ``x``.

        Sharded training frees the weight itself after this call.
        """
        return self.weight.clone()


def layers_with_gate(blocks: Iterable[nn.Module], gate: Gate | None) -> list[list[nn.Module]]:
    """Returns one layer per block; the gate belongs to the layer of the second block, the first to use the gate."""
    layers = [[block] for block in blocks]
    if gate is not None and len(layers) > 1:
        layers[1].append(gate)
    return layers
