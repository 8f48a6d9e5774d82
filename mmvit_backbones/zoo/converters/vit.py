"""Converts ViT from the layouts of timm (also of DeiT, MAE and DINO) and mmpretrain.

ReViT has no class token and averages all tokens: the class token, its position and the classifier have no place in it.
"""
from math import isqrt

from torch import Tensor

from .layout import Names
from .library_layout import LibraryLayout

MAX_PREFIX_TOKENS = 5  # for classes and distillation, or for classes and four registers
BLOCK = r'backbone.blocks.\1.'
TIMM_NAMES = {
    r'patch_embed\.proj': 'backbone.patch_embed.proj',
    'pos_embed': 'backbone.patch_embed.positions.pos_embed',
    r'blocks\.(\d+)\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)': BLOCK + r'\2',
    'norm': 'backbone.norm0',
    'cls_token|dist_token|head|head_dist|fc_norm': None,
    r'mask_token|decoder_.*': None,  # of MAE's pretraining
}
MMPRETRAIN_NAMES = {
    r'patch_embed\.projection': 'backbone.patch_embed.proj',
    'pos_embed': 'backbone.patch_embed.positions.pos_embed',
    r'layers\.(\d+)\.(?:ln|norm)([12])': BLOCK + r'norm\2',
    r'layers\.(\d+)\.attn\.(qkv|proj)': BLOCK + r'attn.\2',
    r'layers\.(\d+)\.ffn\.layers\.0\.0': BLOCK + 'mlp.fc1',
    r'layers\.(\d+)\.ffn\.layers\.1': BLOCK + 'mlp.fc2',
    'ln1|norm1': 'backbone.norm0',
    'cls_token|dist_token': None,
}


def drop_prefix_positions(key: str, x: Tensor) -> Tensor:
    """Drops the positions of the prefix tokens, which come before the square grid of patches."""
    if not key.endswith('pos_embed') or x.ndim != 3:
        return x
    tokens = x.shape[1] - isqrt(x.shape[1])**2
    return x[:, tokens:] if tokens <= MAX_PREFIX_TOKENS else x  # the model refuses a grid that is no square


def vit_of(library: str, keys: tuple[str, ...], names: Names) -> LibraryLayout:
    return LibraryLayout(f'ViT of {library}', keys, names, reshape=drop_prefix_positions, backbones=('ReViT', ))


TIMM = vit_of('timm', ('patch_embed.proj.weight', 'pos_embed', 'blocks.0.attn.qkv.weight'), TIMM_NAMES)
MMPRETRAIN = vit_of('mmpretrain', ('patch_embed.projection.weight', 'layers.0.attn.qkv.weight'), MMPRETRAIN_NAMES)
