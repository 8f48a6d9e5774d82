"""Converts ResT's and ResTv2's classifiers, detectors and segmenters from the layouts of github.com/wofmanaf/ResT."""
from .layout import THREE_CONVS, Layout, from_zero

PREFIXES = 'backbone.bottom_up.', 'backbone.', ''  # in checkpoints of detectron2, mmseg, and classifiers

COMMON = {
    r'stem\.pos\.pa_conv': 'backbone.patch_embeds.0.pos.conv',
    r'stage(\d)\.(\d+)\.(norm[12]|mlp\.fc[12]|attn\.(?:q|kv|sr|sr_norm|proj))': from_zero(r'backbone.stages.{}.\2.\3'),
    'norm': 'backbone.norm3',
    'head': 'head.fc',
    r'((?:decode|auxiliary)_head\..+)': r'\1',  # mmseg's names stay unchanged
}
NAMES = {
    **COMMON,
    r'stem\.(conv[123]|norm[12])': r'backbone.patch_embeds.0.\1',
    r'patch_embed_(\d)\.(conv|norm)': from_zero(r'backbone.patch_embeds.{}.\2'),
    r'patch_embed_(\d)\.pos\.pa_conv': from_zero('backbone.patch_embeds.{}.pos.conv'),
    r'stage(\d)\.(\d+)\.attn\.transform_conv': from_zero(r'backbone.stages.{}.\2.attn.mix_heads'),
    r'norm(\d)': from_zero('backbone.norm{}'),
}
NAMES_V2 = {
    **COMMON,
    **{rf'stem\.proj\.{k}': f'backbone.patch_embeds.0.{name}' for k, name in THREE_CONVS.items()},
    r'stem\.norm': 'backbone.patch_embeds.0.norm3',
    r'patch_(\d)\.proj': from_zero('backbone.patch_embeds.{}.conv'),
    r'patch_(\d)\.pos\.pa_conv': from_zero('backbone.patch_embeds.{}.pos.conv'),
    r'patch_(\d)\.norm': from_zero('backbone.patch_embeds.{}.norm'),
    r'stage(\d)\.(\d+)\.attn\.(up|up_norm)(\.0)?': from_zero(r'backbone.stages.{}.\2.attn.\3'),
    r'norm_(\d)(\.0)?': from_zero('backbone.norm{}'),  # norm_1.0 in detectors, norm_1 in segmenters
}

REST = Layout('ResT', ('stem.pos.pa_conv.weight', 'stem.conv1.weight'), NAMES, PREFIXES)
RESTV2 = Layout('ResTv2', ('stem.pos.pa_conv.weight', 'stem.proj.0.weight'), NAMES_V2, PREFIXES)
