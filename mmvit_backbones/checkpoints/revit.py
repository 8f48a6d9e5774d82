"""The networks with attention residuals: from the layout of github.com/ADiko1997/ReViT."""
from collections.abc import Mapping

from torch import Tensor

from .layout import rename, unwrap

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


def convert_revit(checkpoint: Mapping) -> dict[str, Tensor]:
    """The authors' file of ReViT as ``backbone.*`` and ``head.fc.*``.

    Raises:
        KeyError: If a key is unknown.
    """
    return rename(unwrap(checkpoint, WRAPPERS), REVIT, 'ReViT')


def convert_remvitv2(checkpoint: Mapping) -> dict[str, Tensor]:
    """The authors' file of ReMViTv2, likewise."""
    return rename(unwrap(checkpoint, WRAPPERS), REMVITV2, 'ReMViTv2')
