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


class BaseBlock(nn.Module):
    """Base of the pre-norm blocks of attention and an MLP, with their modules."""

    def __init__(self, channels: int, attn: nn.Module, mlp_ratio: float, drop_path: float, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))


class Block(BaseBlock):
    """Attention, then an MLP, both residual; pre-norm.

    ``attn`` (nn.Module) keeps the shape of the normalized input.

    Paper: arXiv 2103.14030, equation 3.
    Paper: arXiv 2105.13677, figure 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(..., channels)``."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Handover:
    """Receives the attention map of a block, for the next one.

    The block itself returns a single tensor, as tools with hooks on blocks expect, such as Grad-CAM.
    """
    attn: Tensor


class ResidualAttentionBlock(BaseBlock):
    """A block with attention that blends its logits with those of the previous block.

    ``attn`` takes the normalized input, the logits of the previous block and the block's other arguments, and returns
    its output and its logits.

    Paper: arXiv 2402.11301, residual attention.
    """

    def forward(self, x: Tensor, prev_logits: Tensor | None, handover: Handover, *context) -> Tensor:
        """Keeps the shape ``(..., channels)``; the logits go into ``handover``."""
        out, handover.attn = self.attn(self.norm1(x), prev_logits, *context)
        x = x + self.drop_path(out)
        return x + self.drop_path(self.mlp(self.norm2(x)))


def trunc_normal_(weight: Tensor) -> None:
    """Fills a weight from a truncated normal (std 0.02); skipped on the meta device, where it is slow and useless."""
    if not weight.is_meta:
        nn.init.trunc_normal_(weight, std=0.02)


def init_linear(module: nn.Module) -> None:
    """Initializes linear layers: weights from a truncated normal (std 0.02), biases 0."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
