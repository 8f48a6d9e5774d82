"""What graphs need; above all, that a traced one serves pictures of all sizes: no decision may depend on a size."""
import torch
import torch.nn.functional as F
from torch import Tensor


def is_recorded() -> bool:
    """While a graph is made: compiled, exported or traced."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def is_needed(*amounts: int) -> bool:
    """Whether any amount is not 0. Always in a graph that is traced: what is 0 at one size is not at another."""
    return torch.jit.is_tracing() or any(amounts)


def larger(first: int, second: int) -> int:
    """``max``, which in a traced graph would be settled by the example."""
    if torch.jit.is_tracing():
        return torch.maximum(torch.as_tensor(first), torch.as_tensor(second))
    return max(first, second)


def resample(maps: Tensor, size: tuple[int, int], mode: str, align_corners: bool = False) -> Tensor:
    """``torch.nn.functional.interpolate`` of ``(B, C, h, w)``, by which a traced graph is right at all sizes.

    ONNX takes the first pixel where one is asked for, torch the middle; so graphs get the positions themselves.

    Args:
        maps (Tensor): ``(B, C, h, w)``.
        size (tuple[int, int]): Height and width to make.
        mode (str): ``'bilinear'`` or ``'bicubic'``.
        align_corners (bool): Whether the middles of the corner pixels stay, or their outer edges.
    """
    if not torch.jit.is_tracing():
        return F.interpolate(maps, size, mode=mode, align_corners=align_corners)

    def positions(length: int) -> Tensor:
        """From -1 to 1."""
        index = torch.arange(length, device=maps.device).to(maps.dtype)
        if align_corners:
            return 2 * index / (length - 1 + (length == 1)) - 1
        return (2 * index + 1) / length - 1

    y, x = torch.meshgrid(positions(size[0]), positions(size[1]), indexing='ij')
    grid = torch.stack([x, y], dim=-1).expand(maps.shape[0], -1, -1, -1)
    return F.grid_sample(maps, grid, mode, padding_mode='border', align_corners=align_corners)
