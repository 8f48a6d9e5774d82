"""The block of most networks, its parts, and their initial weights."""
from torch import Tensor, nn

from .drop_path import DropPath


class Mlp(nn.Module):
    """Linear, GELU (exact, by erf), dropout, linear, dropout; both of rate ``drop_rate``."""

    def __init__(self, channels: int, hidden_channels: int, drop_rate: float = 0.) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_channels, channels)
        self.dropout = nn.Dropout(drop_rate) if drop_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(..., channels)``."""
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(x)))))


class Block(nn.Module):
    """Attention, then an MLP, both residual; pre-norm.

    Args:
        attn (nn.Module): Gets the normalized input and what else the block gets. Gives its output, or a tuple of its
            output and what the next block gets.
    """

    def __init__(self, attn: nn.Module, channels: int, mlp_ratio: float, drop_path: float, eps: float,
                 position: nn.Module | None = None) -> None:
        super().__init__()
        self.position = position or nn.Identity()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))

    def forward(self, x: Tensor, *context) -> Tensor | tuple:
        """Keeps the shape ``(..., channels)``; a tuple where ``attn`` gives one."""
        out = self.attn(self.norm1(self.position(x)), *context)
        out, *state = out if isinstance(out, tuple) else (out, )
        x = x + self.drop_path(out)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return (x, *state) if state else x


def trunc_normal_(weight: Tensor) -> None:
    """Truncated normal (0.02), in place; nothing on the meta device, where this takes long and has no effect."""
    if not weight.is_meta:
        nn.init.trunc_normal_(weight, std=0.02)


def init_linear(module: nn.Module) -> None:
    """Truncated normal (0.02) for linear layers, zero biases."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
