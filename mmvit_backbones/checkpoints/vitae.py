"""ViTAE, ViTAEv2, with VSA too: from the layouts of github.com/ViTAE-Transformer/ViTAE-{Transformer,VSA}."""
import re
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from .layout import AVERAGED, converter

# Both generations number the modules of a convolution branch as they follow each other, activations included.
CONV_BRANCH = {
    **{rf'PCM\.{k}\.(weight|bias)': rf'conv_branch.convs.{k // 3}.\1' for k in (0, 3, 6)},
    **{rf'PCM\.{k}\.(\w+)': rf'conv_branch.norms.{k // 3}.\1' for k in (1, 4)},
}
PERFORMER_CONV_BRANCH = {
    **{rf'PCM\.{k}\.(weight|bias)': rf'conv_branch.convs.{i}.\1' for i, k in enumerate((0, 2, 5))},
    r'PCM\.3\.(\w+)': r'conv_branch.norms.1.\1',
}
PYRAMID = {r'PRM\.convs\.(\d+)\.0\.(weight|bias)': r'pyramid.convs.\1.\2'}
NORMAL_CELL = {
    r'(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)': r'\1.\2',
    r'attn\.relative_position_index': None,  # never used
    **CONV_BRANCH,
}
REDUCTION_CELL = {
    r'attn\.(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)': r'\1.\2',
    r'attn\.attn\.relative_position_index': None,
    **PYRAMID,
    **CONV_BRANCH,
}
VSA_CELL = {
    r'(norm1|norm2|attn\.qkv|attn\.proj|mlp\.fc1|mlp\.fc2)\.(weight|bias)': r'\1.\2',
    r'attn\.(sampling_offsets|sampling_scales)\.2\.(weight|bias)': r'attn.\1.\2',
    r'attn\.relative_position_bias_table': 'attn.position_bias.relative_position_bias_table',
    r'attn\.(relative_position_index|base_coords|coords)': None,  # recomputed
    r'pos\.(weight|bias)': r'position.conv.\1',
    **PYRAMID,
    **CONV_BRANCH,
}
PERFORMER_CELL = {
    r'attn\.w': 'attn.features',
    r'attn\.(kqv|proj)\.(weight|bias)': r'attn.\1.\2',
    r'attn\.(norm1|norm2)\.(weight|bias)': r'\1.\2',
    r'attn\.mlp\.0\.(weight|bias)': r'mlp.fc1.\1',
    r'attn\.mlp\.2\.(weight|bias)': r'mlp.fc2.\1',
    **PYRAMID,
    **PERFORMER_CONV_BRANCH,
}
HEAD = {r'head\.(weight|bias)': r'head.fc.\1'}


def inside(theirs: str, ours: str, layout: dict[str, str | None]) -> dict[str, Callable | None]:
    """A layout under a prefix."""
    def renamed(match: re.Match, pattern: str, replacement: str) -> str:
        start = re.match(theirs, match.string)
        return start.expand(ours) + re.sub(pattern, replacement, match.string[start.end():])

    return {theirs + pattern: replacement and partial(renamed, pattern=pattern, replacement=replacement)
            for pattern, replacement in layout.items()}


VITAEV2 = {
    **inside(r'layers\.(\d+)\.RC\.', r'backbone.stages.\1.reduction.', REDUCTION_CELL),
    **inside(r'layers\.(\d+)\.NC\.(\d+)\.', r'backbone.stages.\1.cells.\2.', NORMAL_CELL),
    **HEAD,
}
VITAEV2_VSA = {
    **inside(r'layers\.(\d+)\.RC\.', r'backbone.stages.\1.reduction.', VSA_CELL),
    **inside(r'layers\.(\d+)\.NC\.(\d+)\.', r'backbone.stages.\1.cells.\2.', VSA_CELL),
    **HEAD,
}
VITAE = {
    r'layers\.0\.RC\.PRM\.proj\.(weight|bias)': r'backbone.patch_embed.proj.\1',
    r'layers\.0\.RC\.cls_token': 'backbone.patch_embed.class_token',
    r'layers\.0\.RC\.pos_embed': 'backbone.patch_embed.positions.pos_embed',
    r'fc_norm\.(weight|bias)': r'neck.norm.\1',
    **inside(r'layers\.(\d+)\.RC\.', r'backbone.reductions.\1.', PERFORMER_CELL),
    **inside(r'layers\.2\.NC\.(\d+)\.', r'backbone.cells.\1.', NORMAL_CELL),
    **HEAD,
}

convert_vitae = converter('ViTAE', VITAE, AVERAGED)  # the norm of plain networks becomes ``neck.norm.*``
convert_vitaev2 = converter('ViTAEv2', VITAEV2, AVERAGED)
rename_vitaev2_vsa = converter('ViTAEv2-VSA', VITAEV2_VSA, AVERAGED)


def convert_vitaev2_vsa(checkpoint: Mapping) -> dict[str, Tensor]:
    """The authors' file likewise; their projections are 1 x 1 convolutions, ours linear layers."""
    return {key: value.flatten(1) if '.attn.' in key and value.ndim == 4 else value
            for key, value in rename_vitaev2_vsa(checkpoint).items()}


def convert_swin_vsa(checkpoint: Mapping) -> dict[str, Tensor]:
    """Refuses any file: no checkpoint of the authors exists, and one of ours needs no conversion."""
    raise KeyError('no checkpoint of Swin-VSA is published')
