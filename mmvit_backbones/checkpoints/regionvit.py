"""RegionViT: from the layout of github.com/IBM/RegionViT, classifiers and detectors."""
import re
from collections.abc import Mapping

from torch import Tensor

from .layout import rename, unwrap

WRAPPERS = ('model_ema', 'model')
DETECTOR = 'backbone.bottom_up.model.'  # what detectron2 puts before the backbone's keys


def block_from_zero(match: re.Match) -> str:
    """Their first block has number 1, their number 0 is the projection."""
    stage, block, name = match.groups()
    return f'backbone.stages.{stage}.blocks.{int(block) - 1}.{name}'


LAYOUT = {
    r'patch_embed\.proj\.(weight|bias)': r'backbone.local_embed.conv.\1',
    r'patch_embed\.proj\.0\.(\w+)': r'backbone.local_embed.conv1.\1',
    r'patch_embed\.proj\.1\.(\w+)': r'backbone.local_embed.norm1.\1',
    r'patch_embed\.proj\.3\.(\w+)': r'backbone.local_embed.conv2.\1',
    r'patch_embed\.proj\.4\.(\w+)': r'backbone.local_embed.norm2.\1',
    r'patch_embed\.proj\.6\.(\w+)': r'backbone.local_embed.conv3.\1',
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
DETECTOR_LAYOUT = {
    **LAYOUT,
    r'backbone\.(fpn_\w+|top_block)\..*': None,
    r'(proposal_generator|anchor_generator|roi_heads)\..*': None,
    r'head\.(cls_subnet|bbox_subnet|cls_score|bbox_pred)\..*': None,
    r'pixel_(mean|std)': None,
}


def convert(checkpoint: Mapping) -> dict[str, Tensor]:
    """The authors' file as ``backbone.*`` and, of a classifier, ``neck.norm.*`` and ``head.fc.*``.

    Of a detector, the backbone: pyramid and heads, which are detectron2's, are left out.

    Raises:
        KeyError: If a key is unknown.
    """
    state_dict, layout = unwrap(checkpoint, WRAPPERS), LAYOUT
    if any(key.startswith(DETECTOR) for key in state_dict):
        state_dict, layout = {key.removeprefix(DETECTOR): x for key, x in state_dict.items()}, DETECTOR_LAYOUT
    renamed = rename(state_dict, layout, 'RegionViT')
    # Their norms of maps have parameters of (1, C, 1, 1).
    is_map_norm = re.compile(r'.*(local_embed\.norm\d|projection\.norm|backbone\.norm\d)\.\w+').fullmatch
    return {key: x.flatten() if is_map_norm(key) else x for key, x in renamed.items()}
