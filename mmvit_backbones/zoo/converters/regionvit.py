"""Converts RegionViT's classifiers and detectors from the layout of github.com/IBM/RegionViT."""
from torch import Tensor

from .layout import THREE_CONVS, Layout, from_zero

NAMES = {
    r'patch_embed\.proj': 'backbone.local_embed.conv',
    **{rf'patch_embed\.proj\.{k}': f'backbone.local_embed.{name}' for k, name in THREE_CONVS.items()},
    r'cls_token\.proj': 'backbone.region_embed.conv',
    r'layers\.(\d+)\.block\.0\.proj\.0': r'backbone.stages.\1.projection.norm',
    r'layers\.(\d+)\.block\.0\.proj\.2': r'backbone.stages.\1.projection.conv',
    r'layers\.\d+\.block\.0\.proj_cls\.[02]': None,  # the tensors of proj under a second name
    r'layers\.(\d+)\.block\.([1-9]\d*)\.(norm[012]|attn\.(?:rel_pos|qkv|proj)|mlp\.fc[12])':
    from_zero(r'backbone.stages.\1.blocks.{}.\3', group=2),  # block 0 is the projection
    r'layers\.(\d+)\.peg': r'backbone.stages.\1.peg',
    r'norm(\d)': r'backbone.norm\1',
    'norm': 'neck.norm',
    'head': 'head.fc',
}


def flatten_norm(key: str, x: Tensor) -> Tensor:
    """Flattens the parameters ``(1, C, 1, 1)`` of the authors' norms for feature maps."""
    return x.flatten() if 'norm' in key and x.ndim == 4 else x


# Converted classifiers have keys ``neck.norm.*`` in addition to ``backbone.*`` and ``head.fc.*``.
# Detectors have detectron2's prefix ``backbone.bottom_up.model.``.
REGIONVIT = Layout('RegionViT', ('cls_token.proj.weight', 'layers.0.block.1.attn.qkv.weight'), NAMES,
                   ('backbone.bottom_up.model.', ''), flatten_norm)
