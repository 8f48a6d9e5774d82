"""RegionViT: from the layout of github.com/IBM/RegionViT, classifiers and detectors."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import THREE_CONVS, converter, from_zero

LAYOUT = {
    r'patch_embed\.proj': 'backbone.local_embed.conv',
    **{rf'patch_embed\.proj\.{k}': f'backbone.local_embed.{name}' for k, name in THREE_CONVS.items()},
    r'cls_token\.proj': 'backbone.region_embed.conv',
    r'layers\.(\d+)\.block\.0\.proj\.0': r'backbone.stages.\1.projection.norm',
    r'layers\.(\d+)\.block\.0\.proj\.2': r'backbone.stages.\1.projection.conv',
    r'layers\.\d+\.block\.0\.proj_cls\.[02]': None,  # the same tensors as proj under a second name
    r'layers\.(\d+)\.block\.([1-9]\d*)\.(norm[012]|attn\.(?:rel_pos|qkv|proj)|mlp\.fc[12])':
    from_zero(r'backbone.stages.\1.blocks.{}.\3', group=2),  # block 0 is the projection
    r'layers\.(\d+)\.peg': r'backbone.stages.\1.peg',
    r'norm(\d)': r'backbone.norm\1',
    'norm': 'neck.norm',
    'head': 'head.fc',
}


def flatten_norm(key: str, x: Tensor) -> Tensor:
    """Their norms of maps have parameters of (1, C, 1, 1)."""
    return x.flatten() if 'norm' in key and x.ndim == 4 else x


# Of a classifier also ``neck.norm.*``; what detectron2 puts before the backbone's names is left out.
convert = converter('RegionViT', LAYOUT, ('model_ema', 'model'), ('backbone.bottom_up.model.', ), reshape=flatten_norm)


def resize_bicubic(image: Tensor, side: int) -> Tensor:
    """``(..., H, W)`` to ``(..., side, side)``, in float32 at least."""
    dtype = torch.promote_types(image.dtype, torch.float32)
    resized = F.interpolate(image.to(dtype), size=(side, side), mode='bicubic', align_corners=False)
    return resized.to(image.dtype)


def resize_position_bias(table: Tensor, length: int, wrapped: bool) -> Tensor:
    """Resizes a wrapped table of position biases, ``(heads, D * D)`` with ``D = 2 * window_size - 1``, to another
    length: as it is (``wrapped``), or with its displacements put in order before and back after.
    """
    old_side, new_side = round(table.shape[1]**0.5), round(length**0.5)
    image = table.unflatten(1, (old_side, old_side))
    if wrapped:
        return resize_bicubic(image[None], new_side)[0].flatten(1)
    # Displacement 0 is at w // 2 and moves to the center, w - 1.
    old_shift, new_shift = [side // 2 - (side + 1) // 4 for side in (old_side, new_side)]
    image = image.roll((old_shift, old_shift), dims=(1, 2))
    return resize_bicubic(image[None], new_side)[0].roll((-new_shift, -new_shift), dims=(1, 2)).flatten(1)
