"""The learned weight of attention residuals (ReViT, Diko et al., arXiv 2402.11301, equation 5)."""
import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """The weight of a block's own logits: one parameter, shared by all blocks, not bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, ), 0.5))

    def forward(self) -> Tensor:
        """The weight, without dimensions, so that it decides no tensor's dtype."""
        return self.weight.sum()  # no view of the weight: what tracks modules (FLOP counters) stumbles over those
