"""MLP of a transformer block."""
from torch import Tensor, nn

from ..ops.recompute import recomputable, recompute_input


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
        x = recompute_input(self.fc1, x)
        return self.dropout(recompute_input(self.fc2, self.dropout(recomputable(self.act, x))))
