"""ResT, both versions: from the layouts of github.com/wofmanaf/ResT, those of classifiers and of dense backbones."""
import re
from collections.abc import Callable, Mapping

from torch import Tensor

from .detectron2 import split_detector
from .layout import rename, unwrap

WRAPPERS = ('model', 'state_dict')
PREFIXES = ('backbone.bottom_up.', 'backbone.')  # what detectron2 and mmseg put before the backbone's keys


def stage(template: str) -> Callable[[re.Match], str]:
    """A replacement whose ``{}`` is the first group, a number that the authors count from 1 and we from 0."""
    return lambda match: match.expand(template.format(int(match[1]) - 1))


BATCH_NORM = r'(weight|bias|running_mean|running_var|num_batches_tracked)'
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


def convert(checkpoint: Mapping) -> dict[str, Tensor]:
    """The authors' file of a ResTv1 as ``backbone.*`` and ``head.fc.*``; detectors and segmenters come back whole.

    Raises:
        KeyError: If a key is unknown.
    """
    backbone, others = read(checkpoint)
    return rename(backbone, LAYOUT, 'ResT') | others


def convert_v2(checkpoint: Mapping) -> dict[str, Tensor]:
    """The same of a ResTv2."""
    backbone, others = read(checkpoint)
    return rename(backbone, LAYOUT_V2, 'ResTv2') | others


def read(checkpoint: Mapping) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights by the authors' names, and the parts of a detector by mmdet's."""
    state_dict = unwrap(checkpoint, WRAPPERS)
    for prefix in PREFIXES:
        if any(key.startswith(f'{prefix}stem.') for key in state_dict):
            return split_detector(state_dict, prefix)
    return state_dict, {}
