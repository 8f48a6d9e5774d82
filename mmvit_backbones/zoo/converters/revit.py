"""Converts ReViT, ReMViTv2 and ReSwin from the layout of github.com/ADiko1997/ReViT."""
from .layout import Layout

PLAIN = {  # common to ReViT and ReMViTv2
    'alpha': 'backbone.gate.weight',
    r'patch_embed\.proj': 'backbone.patch_embed.proj',
    r'blocks\.(\d+)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)': r'backbone.blocks.\1.\2',
    r'head\.projection': 'head.fc',
}
REVIT_NAMES = {
    **PLAIN,
    'pos_embed': 'backbone.patch_embed.positions.pos_embed',
    'norm': 'backbone.norm0',
}
REMVITV2_NAMES = {
    **PLAIN,
    r'blocks\.(\d+)\.attn\.(pool_[qkv])': r'backbone.blocks.\1.attn.\2.conv',
    r'blocks\.(\d+)\.attn\.norm_([qkv])': r'backbone.blocks.\1.attn.pool_\2.norm',
    r'blocks\.(\d+)\.attn\.(rel_pos_[hw])': r'backbone.blocks.\1.attn.positions.\2',
    r'blocks\.(\d+)\.proj': r'backbone.blocks.\1.proj',
    'norm': 'backbone.norm3',
}


RESWIN_NAMES = {  # without alpha, because the published gate is a constant
    r'patch_embed\.(proj|norm)': r'backbone.patch_embed.\1',
    r'layers\.(\d+)\.blocks\.(\d+)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)':
    r'backbone.stages.\1.blocks.\2.\3',
    r'layers\.(\d+)\.blocks\.(\d+)\.attn\.(relative_position_bias_table)':
    r'backbone.stages.\1.blocks.\2.attn.position_bias.\3',
    r'layers\.(\d+)\.blocks\.\d+\.(attn\.relative_position_index|attn_mask)': None,  # computed by the model
    r'layers\.(\d+)\.downsample\.(norm|reduction)': r'backbone.stages.\1.downsample.\2',
    'norm': 'backbone.norm3',
    'head': 'head.fc',
}

REVIT = Layout('ReViT', ('alpha', 'pos_embed', 'blocks.0.attn.qkv.weight'), REVIT_NAMES)
REMVITV2 = Layout('ReMViTv2', ('alpha', 'blocks.0.attn.pool_q.weight'), REMVITV2_NAMES)
RESWIN = Layout('ReSwin', ('patch_embed.norm.weight', 'layers.0.blocks.0.attn.relative_position_bias_table',
                           'layers.0.downsample.norm.weight'),
                RESWIN_NAMES, is_shared=True)  # as in Microsoft's Swin
