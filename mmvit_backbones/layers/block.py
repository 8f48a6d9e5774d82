"""Transformer blocks, their MLP, and weight initialization."""
from torch import Tensor, nn

from .drop_path import DropPath


class Mlp(nn.Module):
    """Two linear layers with exact GELU in between, and dropout after GELU and after the second layer."""

    def __init__(self, channels: int, hidden_channels: int, drop_rate: float = 0.) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_channels, channels)
        self.dropout = nn.Dropout(drop_rate) if drop_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(..., channels)``."""
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(x)))))


class BaseBlock(nn.Module):
    """Base class of pre-norm blocks of attention and an MLP; subclasses define ``forward``.

    ``mlp`` (nn.Module), such as :class:`Mlp`, must keep the shape of its input.
    """

    def __init__(self, channels: int, attn: nn.Module, mlp: nn.Module, drop_path: float, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = mlp


class Block(BaseBlock):
    """Pre-norm block of attention and an MLP, both with a residual connection.

    ``attn`` (nn.Module) must keep the shape of its input.

    Paper: arXiv 2103.14030, equation 3.
    Paper: arXiv 2105.13677, equation 5.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(..., channels)``."""
        x = self.drop_path(x, self.attn(self.norm1(x)))
        return self.drop_path(x, self.mlp(self.norm2(x)))


class ResidualAttentionBlock(BaseBlock):
    """Pre-norm block whose attention blends its logits with the logits of the previous block.

    ``attn(x, prev_logits, *context)`` must return its output and its logits.

    Paper: arXiv 2402.11301, residual attention.
    """

    def forward(self, x: Tensor, prev_logits: Tensor | None, *context) -> tuple[Tensor, Tensor]:
        """Maps ``(..., channels)`` and the previous block's logits to an output of the same shape and new logits."""
        out, logits = self.attn(self.norm1(x), prev_logits, *context)
        x = self.drop_path(x, out)
        return self.drop_path(x, self.mlp(self.norm2(x))), logits


def trunc_normal_(weight: Tensor) -> None:
    """Initializes a weight from a truncated normal (std 0.02); does nothing on the meta device, where this is slow."""
    if not weight.is_meta:
        nn.init.trunc_normal_(weight, std=0.02)


def init_linear(module: nn.Module) -> None:
    """Initializes a linear layer: its weight from a truncated normal (std 0.02), its bias to 0."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
