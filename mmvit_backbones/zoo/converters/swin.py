"""Converts Swin Transformer from the layouts of Microsoft, timm and OpenMMLab.

The layout of github.com/microsoft/Swin-Transformer is also that of the authors of ReSwin.
"""
import re

from torch import Tensor

from .layout import from_zero
from .library_layout import LibraryLayout
from .revit import RESWIN, RESWIN_NAMES

BACKBONES = ('ReSwin', 'SwinVSA')
TABLE = 'relative_position_bias_table'
BLOCK = r'backbone.stages.\1.blocks.\2.'

MICROSOFT_NAMES = {
    **RESWIN_NAMES,
    r'norm(\d)': r'backbone.norm\1',  # in detectors and segmenters
}
# timm merges patches at the beginning of a stage, and Microsoft at the end.
TIMM_NAMES = {
    r'layers\.(\d+)\.downsample\.(norm|reduction)': from_zero(r'backbone.stages.{}.downsample.\2'),
    **{pattern: name for pattern, name in RESWIN_NAMES.items() if 'downsample' not in pattern},
    r'head\.fc': 'head.fc',
}
OPENMMLAB_NAMES = {
    r'patch_embed\.projection': 'backbone.patch_embed.proj',
    r'patch_embed\.norm': 'backbone.patch_embed.norm',
    r'stages\.(\d+)\.blocks\.(\d+)\.(norm1|norm2)': BLOCK + r'\3',
    r'stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.(qkv|proj)': BLOCK + r'attn.\3',
    rf'stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.{TABLE}': BLOCK + f'attn.position_bias.{TABLE}',
    r'stages\.\d+\.blocks\.\d+\.attn\.w_msa\.relative_position_index': None,
    r'stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.0\.0': BLOCK + 'mlp.fc1',
    r'stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.1': BLOCK + 'mlp.fc2',
    r'stages\.(\d+)\.downsample\.(norm|reduction)': r'backbone.stages.\1.downsample.\2',
    r'norm(\d)': r'backbone.norm\1',
}


def reorder_merging(key: str, x: Tensor) -> Tensor:
    """Orders the inputs of OpenMMLab's patch merging as Microsoft's.

    OpenMMLab has the four neighbors of a channel together, in the order (0, 0), (0, 1), (1, 0), (1, 1) of row and
    column. Microsoft has the channels of a neighbor together, in the order (0, 0), (1, 0), (0, 1), (1, 1).
    """
    if not re.search(r'downsample\.(norm|reduction)\.', key):
        return x
    return x.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)


MICROSOFT = LibraryLayout('Swin of Microsoft', RESWIN.keys, MICROSOFT_NAMES, backbones=BACKBONES)
TIMM = LibraryLayout(
    'Swin of timm', (*RESWIN.keys[:2], 'layers.3.downsample.norm.weight'), TIMM_NAMES, backbones=BACKBONES)
OPENMMLAB = LibraryLayout(
    'Swin of OpenMMLab', ('patch_embed.projection.weight', f'stages.0.blocks.0.attn.w_msa.{TABLE}'), OPENMMLAB_NAMES,
    reshape=reorder_merging, backbones=BACKBONES)
