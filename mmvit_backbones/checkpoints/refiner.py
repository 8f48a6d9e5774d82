"""Refiner-ViT: from the layout of github.com/zhoudaquan/Refiner_ViT."""
import re

from .layout import AVERAGED, BATCH_NORM, converter

REFINER = {'conv_exp': 'expand', 'depth_sep_conv': 'depthwise', 'conv_pro': 'project'}


def projection(match: re.Match) -> str:
    """In blocks with an odd index, what the authors call qkv makes values alone."""
    block, kind = match.groups()
    return f'backbone.blocks.{block}.attn.{"value" if int(block) % 2 else "qkv"}.{kind}'


LAYOUT = {
    'cls_token': 'backbone.embed.class_token',
    'pos_embed': 'backbone.embed.positions.pos_embed',
    r'patch_embed\.(conv[123])\.weight': r'backbone.embed.patches.\1.weight',
    rf'patch_embed\.bn([123])\.{BATCH_NORM}': r'backbone.embed.patches.norm\1.\2',
    r'patch_embed\.proj\.(weight|bias)': r'backbone.embed.patches.proj.\1',
    r'blocks\.(\d+)\.(norm[12]|attn\.proj|mlp\.fc[12])\.(weight|bias)': r'backbone.blocks.\1.\2.\3',
    r'blocks\.(\d+)\.attn\.qkv\.(weight|bias)': projection,
    r'blocks\.(\d+)\.attn\.DLA\.(conv_exp|depth_sep_conv|conv_pro)\.weight':
    lambda match: f'backbone.blocks.{match[1]}.attn.refiner.{REFINER[match[2]]}.weight',
    rf'blocks\.(\d+)\.attn\.DLA\.bn([123])\.{BATCH_NORM}': r'backbone.blocks.\1.attn.refiner.norm\2.\3',
    rf'blocks\.(\d+)\.attn\.adapt_bn\.{BATCH_NORM}': r'backbone.blocks.\1.attn.norm.\2',
    r'blocks\.(\d+)\.mlp\.scale_channel': r'backbone.blocks.\1.scale',
    r'norm\.(weight|bias)': r'backbone.norm3.\1',
    r'head\.(weight|bias)': r'head.fc.\1',
    r'aux_head\.(weight|bias)': r'head.aux_fc.\1',
}

# With a dense head, also ``head.aux_fc.*``.
convert = converter('Refiner-ViT', LAYOUT, AVERAGED)
