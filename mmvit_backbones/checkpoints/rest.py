"""ResT, both versions: from the layouts of github.com/wofmanaf/ResT, those of classifiers and of dense backbones."""
import re
from collections.abc import Callable

from .layout import BATCH_NORM, converter

WRAPPERS = ('model', 'state_dict')
PREFIXES = ('backbone.bottom_up.', 'backbone.')  # of detectron2 and mmseg


def stage(template: str) -> Callable[[re.Match], str]:
    """A replacement whose ``{}`` is the first group, a number that the authors count from 1 and we from 0."""
    return lambda match: match.expand(template.format(int(match[1]) - 1))


COMMON = {
    r'stem\.pos\.pa_conv\.(weight|bias)': r'backbone.patch_embeds.0.pos.conv.\1',
    r'stage(\d)\.(\d+)\.(norm[12]|mlp\.fc[12]|attn\.(?:q|kv|sr|sr_norm|proj))\.(weight|bias)':
    stage(r'backbone.stages.{}.\2.\3.\4'),
    r'norm\.(weight|bias)': r'backbone.norm3.\1',
    r'head\.(weight|bias)': r'head.fc.\1',
    r'((?:decode|auxiliary)_head\..+)': r'\1',  # mmseg's, whose names are what they were
}
LAYOUT = {
    **COMMON,
    r'stem\.(conv[123])\.weight': r'backbone.patch_embeds.0.\1.weight',
    rf'stem\.(norm[12])\.{BATCH_NORM}': r'backbone.patch_embeds.0.\1.\2',
    r'patch_embed_(\d)\.conv\.(weight|bias)': stage(r'backbone.patch_embeds.{}.conv.\2'),
    rf'patch_embed_(\d)\.norm\.{BATCH_NORM}': stage(r'backbone.patch_embeds.{}.norm.\2'),
    r'patch_embed_(\d)\.pos\.pa_conv\.(weight|bias)': stage(r'backbone.patch_embeds.{}.pos.conv.\2'),
    r'stage(\d)\.(\d+)\.attn\.transform_conv\.(weight|bias)': stage(r'backbone.stages.{}.\2.attn.mix_heads.\3'),
    r'norm(\d)\.(weight|bias)': stage(r'backbone.norm{}.\2'),
}
LAYOUT_V2 = {
    **COMMON,
    r'stem\.proj\.0\.weight': 'backbone.patch_embeds.0.conv1.weight',
    rf'stem\.proj\.1\.{BATCH_NORM}': r'backbone.patch_embeds.0.norm1.\1',
    r'stem\.proj\.3\.weight': 'backbone.patch_embeds.0.conv2.weight',
    rf'stem\.proj\.4\.{BATCH_NORM}': r'backbone.patch_embeds.0.norm2.\1',
    r'stem\.proj\.6\.(weight|bias)': r'backbone.patch_embeds.0.conv3.\1',
    r'stem\.norm\.(weight|bias)': r'backbone.patch_embeds.0.norm3.\1',
    r'patch_(\d)\.proj\.(weight|bias)': stage(r'backbone.patch_embeds.{}.conv.\2'),
    r'patch_(\d)\.pos\.pa_conv\.(weight|bias)': stage(r'backbone.patch_embeds.{}.pos.conv.\2'),
    r'patch_(\d)\.norm\.(weight|bias)': stage(r'backbone.patch_embeds.{}.norm.\2'),
    r'stage(\d)\.(\d+)\.attn\.up\.0\.(weight|bias)': stage(r'backbone.stages.{}.\2.attn.up.\3'),
    r'stage(\d)\.(\d+)\.attn\.up_norm\.(weight|bias)': stage(r'backbone.stages.{}.\2.attn.up_norm.\3'),
    r'norm_(\d)(?:\.0)?\.(weight|bias)': stage(r'backbone.norm{}.\2'),  # detection norm_1.0, segmentation norm_1
}

convert = converter('ResT', LAYOUT, WRAPPERS, PREFIXES, 'stem.')
convert_v2 = converter('ResTv2', LAYOUT_V2, WRAPPERS, PREFIXES, 'stem.')
