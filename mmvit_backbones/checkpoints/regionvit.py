"""RegionViT: from the layout of github.com/IBM/RegionViT, classifiers and detectors."""
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import converter

WRAPPERS = ('model_ema', 'model')
STEM = {'0': 'conv1', '1': 'norm1', '3': 'conv2', '4': 'norm2', '6': 'conv3'}
DETECTOR = 'backbone.bottom_up.model.'  # what detectron2 puts before the backbone's keys


def block_from_zero(match: re.Match) -> str:
    """Their first block has number 1, their number 0 is the projection."""
    stage, block, name = match.groups()
    return f'backbone.stages.{stage}.blocks.{int(block) - 1}.{name}'


LAYOUT = {
    r'patch_embed\.proj\.(weight|bias)': r'backbone.local_embed.conv.\1',
    r'patch_embed\.proj\.([01346])\.(\w+)': lambda match: f'backbone.local_embed.{STEM[match[1]]}.{match[2]}',
    r'cls_token\.proj\.(\w+)': r'backbone.region_embed.conv.\1',
    r'layers\.(\d+)\.block\.0\.proj\.0\.(\w+)': r'backbone.stages.\1.projection.norm.\2',
    r'layers\.(\d+)\.block\.0\.proj\.2\.(\w+)': r'backbone.stages.\1.projection.conv.\2',
    r'layers\.\d+\.block\.0\.proj_cls\.[02]\.\w+': None,  # the same tensors as proj under a second name
    r'layers\.(\d+)\.block\.([1-9]\d*)\.(norm[012]\.\w+|attn\.rel_pos|attn\.(?:qkv|proj)\.\w+|mlp\.fc[12]\.\w+)':
    block_from_zero,
    r'layers\.(\d+)\.peg\.weight': r'backbone.stages.\1.peg.weight',
    r'norm(\d)\.(\w+)': r'backbone.norm\1.\2',
    r'norm\.(\w+)': r'neck.norm.\1',
    r'head\.(weight|bias)': r'head.fc.\1',
}
rename_all = converter('RegionViT', LAYOUT, WRAPPERS, (DETECTOR, ))


def convert(checkpoint: Mapping) -> dict[str, Tensor]:
    """The authors' file as ``backbone.*`` and, of a classifier, ``neck.norm.*`` and ``head.fc.*``; detectors whole.

    Raises:
        KeyError: If a key is unknown.
    """
    # Their norms of maps have parameters of (1, C, 1, 1).
    is_map_norm = re.compile(r'.*(local_embed\.norm\d|projection\.norm|backbone\.norm\d)\.\w+').fullmatch
    return {key: x.flatten() if is_map_norm(key) else x for key, x in rename_all(checkpoint).items()}


def resize_bicubic(image: Tensor, side: int) -> Tensor:
    """``(..., H, W)`` to ``(..., side, side)``, in float32 at least."""
    dtype = torch.promote_types(image.dtype, torch.float32)
    resized = F.interpolate(image.to(dtype), size=(side, side), mode='bicubic', align_corners=False)
    return resized.to(image.dtype)


def resize_position_bias(table: Tensor, length: int, wrapped: bool) -> Tensor:
    """Resizes a wrapped table of position biases, ``(heads, D * D)`` with ``D = 2 * window_size - 1``, to another
    length: as it lies (``wrapped``), or with its displacements put in order before and back after.
    """
    old_side, new_side = round(table.shape[1]**0.5), round(length**0.5)
    image = table.unflatten(1, (old_side, old_side))
    if wrapped:
        return resize_bicubic(image[None], new_side)[0].flatten(1)
    # Displacement 0 lies at w // 2 and comes to the center, w - 1.
    old_shift, new_shift = [side // 2 - (side + 1) // 4 for side in (old_side, new_side)]
    image = image.roll((old_shift, old_shift), dims=(1, 2))
    return resize_bicubic(image[None], new_side)[0].roll((-new_shift, -new_shift), dims=(1, 2)).flatten(1)
