"""Converts Refiner-ViT from the layout of github.com/zhoudaquan/Refiner_ViT."""
import re

from .layout import Layout


def projection(match: re.Match) -> str:
    """Maps the authors' ``qkv`` to ``value`` in blocks with an odd index."""
    return f'backbone.blocks.{match[1]}.attn.{"value" if int(match[1]) % 2 else "qkv"}'


NAMES = {
    'cls_token': 'backbone.embed.class_token',
    'pos_embed': 'backbone.embed.positions.pos_embed',
    r'patch_embed\.(conv[123]|proj)': r'backbone.embed.patches.\1',
    r'patch_embed\.bn([123])': r'backbone.embed.patches.norm\1',
    r'blocks\.(\d+)\.(norm[12]|attn\.proj|mlp\.fc[12])': r'backbone.blocks.\1.\2',
    r'blocks\.(\d+)\.attn\.qkv': projection,
    r'blocks\.(\d+)\.attn\.DLA\.conv_exp': r'backbone.blocks.\1.attn.refiner.expand',
    r'blocks\.(\d+)\.attn\.DLA\.depth_sep_conv': r'backbone.blocks.\1.attn.refiner.depthwise',
    r'blocks\.(\d+)\.attn\.DLA\.conv_pro': r'backbone.blocks.\1.attn.refiner.project',
    r'blocks\.(\d+)\.attn\.DLA\.bn([123])': r'backbone.blocks.\1.attn.refiner.norm\2',
    r'blocks\.(\d+)\.attn\.adapt_bn': r'backbone.blocks.\1.attn.norm',
    r'blocks\.(\d+)\.mlp\.scale_channel': r'backbone.blocks.\1.scale',
    'norm': 'backbone.norm3',
    'head': 'head.fc',
    'aux_head': 'head.aux_fc',  # only with dense=True
}

REFINER_VIT = Layout('Refiner-ViT', ('cls_token', 'patch_embed.bn1.weight', 'blocks.1.attn.adapt_bn.weight'), NAMES)
