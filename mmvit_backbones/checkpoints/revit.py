"""ReViT, ReMViTv2 and ReSwin: from the layout of github.com/ADiko1997/ReViT."""
from collections.abc import Mapping

from torch import Tensor

from .layout import converter, rename, unwrap

WRAPPERS = ('model', 'model_state_dict')
PLAIN = {  # what ReViT and ReMViTv2 have in common
    r'alpha': 'backbone.gate.weight',
    r'patch_embed\.proj\.(\w+)': r'backbone.patch_embed.proj.\1',
    r'blocks\.(\d+)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)': r'backbone.blocks.\1.\2.\3',
    r'head\.projection\.(\w+)': r'head.fc.\1',
}
REVIT = {
    **PLAIN,
    r'pos_embed': 'backbone.patch_embed.positions.pos_embed',
    r'norm\.(\w+)': r'backbone.norm0.\1',
}
REMVITV2 = {
    **PLAIN,
    r'blocks\.(\d+)\.attn\.(pool_[qkv])\.weight': r'backbone.blocks.\1.attn.\2.conv.weight',
    r'blocks\.(\d+)\.attn\.norm_([qkv])\.(\w+)': r'backbone.blocks.\1.attn.pool_\2.norm.\3',
    r'blocks\.(\d+)\.attn\.(rel_pos_[hw])': r'backbone.blocks.\1.attn.positions.\2',
    r'blocks\.(\d+)\.proj\.(\w+)': r'backbone.blocks.\1.proj.\2',
    r'norm\.(\w+)': r'backbone.norm3.\1',
}
RESWIN = {
    r'patch_embed\.(proj|norm)\.(\w+)': r'backbone.patch_embed.\1.\2',
    r'layers\.(\d+)\.blocks\.(\d+)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)':
    r'backbone.stages.\1.blocks.\2.\3.\4',
    r'layers\.(\d+)\.blocks\.(\d+)\.attn\.(relative_position_bias_table)':
    r'backbone.stages.\1.blocks.\2.attn.position_bias.\3',
    r'layers\.(\d+)\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)': None,  # recomputed
    r'layers\.(\d+)\.downsample\.(norm|reduction)\.(\w+)': r'backbone.stages.\1.downsample.\2.\3',
    r'norm\.(\w+)': r'backbone.norm3.\1',
    r'head\.(\w+)': r'head.fc.\1',
}

convert_revit = converter('ReViT', REVIT, WRAPPERS)
convert_remvitv2 = converter('ReMViTv2', REMVITV2, WRAPPERS)


def convert_reswin(checkpoint: Mapping) -> dict[str, Tensor]:
    """The authors' file as ``backbone.*`` and ``head.fc.*``.

    Raises:
        KeyError: If a key is unknown. A learned gate (``alpha``) is one: the published network has none.
    """
    state_dict = unwrap(checkpoint, WRAPPERS)
    if 'alpha' in state_dict:
        raise KeyError("'alpha': a learned gate; the published ReSwin, and ours, blends with a constant 0.5")
    return rename(state_dict, RESWIN, 'ReSwin')
