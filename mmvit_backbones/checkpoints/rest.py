"""ResT, both versions: from the layouts of github.com/wofmanaf/ResT, those of classifiers and of dense backbones."""
import re
from collections.abc import Callable

from .layout import THREE_CONVS, converter

WRAPPERS = ('model', 'state_dict')
PREFIXES = ('backbone.bottom_up.', 'backbone.')  # of detectron2 and mmseg


def stage(template: str) -> Callable[[re.Match], str]:
    """A replacement whose ``{}`` is the first group, a number that the authors count from 1 and we from 0."""
    return lambda match: match.expand(template.format(int(match[1]) - 1))


COMMON = {
    r'stem\.pos\.pa_conv': 'backbone.patch_embeds.0.pos.conv',
    r'stage(\d)\.(\d+)\.(norm[12]|mlp\.fc[12]|attn\.(?:q|kv|sr|sr_norm|proj))': stage(r'backbone.stages.{}.\2.\3'),
    'norm': 'backbone.norm3',
    'head': 'head.fc',
    r'((?:decode|auxiliary)_head\..+)': r'\1',  # mmseg's, whose names are what they were
}
LAYOUT = {
    **COMMON,
    r'stem\.(conv[123]|norm[12])': r'backbone.patch_embeds.0.\1',
    r'patch_embed_(\d)\.(conv|norm)': stage(r'backbone.patch_embeds.{}.\2'),
    r'patch_embed_(\d)\.pos\.pa_conv': stage('backbone.patch_embeds.{}.pos.conv'),
    r'stage(\d)\.(\d+)\.attn\.transform_conv': stage(r'backbone.stages.{}.\2.attn.mix_heads'),
    r'norm(\d)': stage('backbone.norm{}'),
}
LAYOUT_V2 = {
    **COMMON,
    **{rf'stem\.proj\.{k}': f'backbone.patch_embeds.0.{name}' for k, name in THREE_CONVS.items()},
    r'stem\.norm': 'backbone.patch_embeds.0.norm3',
    r'patch_(\d)\.proj': stage('backbone.patch_embeds.{}.conv'),
    r'patch_(\d)\.pos\.pa_conv': stage('backbone.patch_embeds.{}.pos.conv'),
    r'patch_(\d)\.norm': stage('backbone.patch_embeds.{}.norm'),
    r'stage(\d)\.(\d+)\.attn\.(up|up_norm)(\.0)?': stage(r'backbone.stages.{}.\2.attn.\3'),
    r'norm_(\d)(\.0)?': stage('backbone.norm{}'),  # detection norm_1.0, segmentation norm_1
}

convert = converter('ResT', LAYOUT, WRAPPERS, PREFIXES, 'stem.')
convert_v2 = converter('ResTv2', LAYOUT_V2, WRAPPERS, PREFIXES, 'stem.')
