"""Converts MViTv2 from the layout of timm."""
import re
from collections import Counter

from torch import Tensor

from .library_layout import LibraryLayout
from .revit import REMVITV2_NAMES

TIMM_NAMES = {
    **{pattern: name for pattern, name in REMVITV2_NAMES.items() if pattern != 'alpha'},
    r'head\.fc': 'head.fc',
}
STAGE_BLOCK = re.compile(r'stages\.(\d+)\.blocks\.(\d+)\.')


def number_blocks(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Numbers the blocks of all stages in sequence, as the authors of ReMViTv2 do."""
    depths = Counter()
    for key in weights:
        if match := STAGE_BLOCK.match(key):
            depths[int(match[1])] = max(depths[int(match[1])], int(match[2]) + 1)

    def numbered(match: re.Match) -> str:
        before = sum(depth for stage, depth in depths.items() if stage < int(match[1]))
        return f'blocks.{before + int(match[2])}.'

    return {STAGE_BLOCK.sub(numbered, key).replace('.shortcut_proj_attn.', '.proj.'): x for key, x in weights.items()}


TIMM = LibraryLayout(
    'MViTv2 of timm', ('patch_embed.proj.weight', 'stages.0.blocks.0.attn.pool_q.weight'), TIMM_NAMES,
    backbones=('ReMViTv2', ), prepare=number_blocks)
