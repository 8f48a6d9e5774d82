"""Draws the stages of a network with their blocks and the shapes of their feature maps.

    mmvit draw network vitaev2_small docs/images/vitaev2_small.svg

The figure is generated from the built network, which runs on the meta device without weights.
"""
import argparse
import textwrap
from itertools import groupby

import matplotlib
import torch
from matplotlib.patches import Rectangle
from mmengine.registry import MODELS

from ...backbones import Backbone
from ...zoo.variants import find_variant
from ..arguments import pixels
from ..figures import figure_file, plt

matplotlib.rcParams['svg.fonttype'] = 'none'  # writes text instead of paths
matplotlib.rcParams['svg.hashsalt'] = 'mmvit_backbones'  # makes files reproducible

FILLS = ['#dbe9f6', '#d5efdf', '#fdebd0', '#f6dcdf', '#e6def2']


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('network', help='name of a network listed by mmvit models')
    parser.add_argument('out', type=figure_file, help='figure to write, e.g. .svg, .png or .pdf')
    parser.add_argument('--size', type=pixels, default=224, help='side of the image, in pixels (default: %(default)s)')
    return parser


def main(args: argparse.Namespace) -> None:
    variant = find_variant(args.network)
    with torch.device('meta'):
        backbone = MODELS.build(variant.model_config('backbone')).eval()
        maps = backbone.forward_stages(torch.empty(1, 3, args.size, args.size))
    draw(args.network, args.size, backbone, maps, args.out)


def draw(name: str, size: int, backbone: Backbone, maps: tuple, path: str) -> None:
    width = 3.1
    stages = [describe((backbone.stem_modules() if i == 0 else []) + backbone.stage_modules(i))
              for i in range(backbone.num_stages)]
    height = 1.0 + 0.75 * max(len(lines) for lines in stages)
    figure, axes = plt.subplots(figsize=(width * (len(stages) + 0.45), height + 0.9))
    axes.set(xlim=(0, width * (len(stages) + 0.45)), ylim=(-0.45, height + 0.35))
    axes.axis('off')
    axes.text(0.1, height + 0.1, name, fontsize=13, weight='bold')
    axes.text(0.45 * width / 2, height / 2, f'image\n{size}×{size}×3', ha='center', va='center', fontsize=9)
    for i, (lines, x) in enumerate(zip(stages, maps)):
        left = width * (i + 0.45)
        axes.annotate('', (left + 0.12, height / 2), (left - 0.12, height / 2), arrowprops=dict(arrowstyle='->'))
        axes.add_patch(Rectangle((left + 0.12, 0.1), width - 0.24, height - 0.25, color=FILLS[i % len(FILLS)]))
        axes.text(left + width / 2, height - 0.4, f'stage {i + 1}, stride {backbone.strides[i]}', ha='center',
                  fontsize=10, weight='bold')
        for row, (title, parts) in enumerate(lines):
            top = height - 0.85 - 0.75 * row
            axes.text(left + width / 2, top, title, ha='center', fontsize=9)
            axes.text(left + width / 2, top - 0.1, parts, ha='center', va='top', fontsize=7, color='#444444')
        _, channels, rows, columns = x.shape
        axes.text(left + width / 2, -0.25, f'{rows}×{columns}×{channels}', ha='center', fontsize=9)
    figure.savefig(path, bbox_inches='tight', metadata={'Date': None} if path.endswith('.svg') else None)


def describe(modules: list[torch.nn.Module]) -> list[tuple[str, str]]:
    """Returns two texts for each sequence of equal blocks: the number of blocks with their class, and their layers."""
    blocks = [block for module in modules for block in flatten(module) if any(block.children())]
    lines = []
    for (kind, parts), group in groupby(blocks, key=kind_and_parts):
        count = len(list(group))
        lines.append((f'{count} × {kind}' if count > 1 else kind, textwrap.fill(parts, 36)))
    return lines


def kind_and_parts(block: torch.nn.Module) -> tuple[str, str]:
    parts = dict.fromkeys(type(child).__name__ for child in block.children())
    shown = [part for part in parts if not part.endswith(('Norm', 'Dropout', 'DropPath', 'Identity', 'Linear'))]
    return type(block).__name__, ', '.join(shown)


def flatten(module: torch.nn.Module) -> list[torch.nn.Module]:
    """Returns the blocks of a stage, inside and outside its module lists."""
    if isinstance(module, torch.nn.ModuleList):
        return list(module)
    children = list(module.children())
    if not any(isinstance(child, torch.nn.ModuleList) for child in children):
        return [module]
    return [block for child in children
            for block in (child if isinstance(child, torch.nn.ModuleList) else [child])]
