"""The block of most networks."""
from torch import Tensor, nn

from .drop_path import DropPath
from .mlp import Mlp


class Block(nn.Module):
    """Attention, then an MLP, both residual; pre-norm.

    Args:
        attn (nn.Module): Gets the normalized input and what else the block gets. Gives its output, or a tuple of its
            output and what the next block gets.
        channels (int): Channels of input and output.
        mlp_ratio (float): Hidden channels of the MLP, relative to ``channels``.
        drop_path (float): Probability of dropping each branch.
        eps (float): Epsilon of the norms.
        norm_layer (Callable): Makes a norm of ``channels`` and ``eps``.
        position (nn.Module | None): Before attention and its norm alone, such as :class:`ContextPosition`.
    """

    def __init__(self, attn: nn.Module, channels: int, mlp_ratio: float, drop_path: float, eps: float,
                 norm_layer: type[nn.Module] = nn.LayerNorm, position: nn.Module | None = None) -> None:
        super().__init__()
        self.position = position or nn.Identity()
        self.norm1 = norm_layer(channels, eps=eps)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm_layer(channels, eps=eps)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))

    def forward(self, x: Tensor, *context) -> Tensor | tuple:
        """Keeps the shape ``(..., channels)``; a tuple where ``attn`` gives one."""
        out = self.attn(self.norm1(self.position(x)), *context)
        out, *state = out if isinstance(out, tuple) else (out, )
        x = self.drop_path(out, x)
        x = self.drop_path(self.mlp(self.norm2(x)), x)
        return (x, *state) if state else x
