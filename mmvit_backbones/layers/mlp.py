"""The feed-forward half of a transformer block."""
from torch import Tensor, nn

from .linear import Linear
from .recompute import recompute


class Mlp(nn.Module):
    """Linear, GELU (exact, by erf), linear.

    Args:
        channels (int): Channels of input and output.
        hidden_channels (int): Channels in between.
    """

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels, hidden_channels)
        self.act = nn.GELU()
        self.fc2 = Linear(hidden_channels, channels)

    def forward(self, x: Tensor, norm: nn.Module | None = None) -> Tensor:
        """Keeps the shape ``(..., channels)``; a norm to be applied before is computed anew in the backward pass."""
        hidden = self.fc1(x) if norm is None else recompute(lambda x: self.fc1(norm(x)), x)
        return recompute(lambda hidden: self.fc2(self.act(hidden)), hidden)
