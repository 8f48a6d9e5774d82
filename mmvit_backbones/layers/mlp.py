"""MLP of a transformer block."""
from torch import Tensor, nn

from ..ops.recompute import recomputable, recompute_input


class Mlp(nn.Module):
    """Linear, GELU (exact, by erf), linear."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(..., channels)``."""
        x = recompute_input(self.fc1, x)
        return recompute_input(self.fc2, recomputable(self.act, x))
