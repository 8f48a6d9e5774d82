"""Initial weights."""
from torch import Tensor, nn


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
