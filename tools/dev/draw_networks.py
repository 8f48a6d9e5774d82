"""Draws the stages of networks, with their blocks and the shapes of their maps, in docs/images/NAME.svg.

    python tools/dev/draw_networks.py [NAME ...]

The figures follow from the built networks, which run on the meta device without weights. By default, all figures that
the pages have are drawn.
"""
import argparse
import textwrap
from itertools import groupby
from pathlib import Path

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from mmvit_backbones import get_model
from mmvit_backbones.zoo.variants import VARIANTS

IMAGES = Path(__file__).resolve().parents[2] / 'docs/images'
SIZE, WIDTH = 224, 3.1  # side of the image in pixels; width of a stage in inches
FILLS = '#dbe9f6', '#d5efdf', '#fdebd0', '#f6dcdf', '#e6def2'
LEFT_OUT = 'Norm', 'Dropout', 'DropPath', 'Identity', 'Linear'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*')
    names = parser.parse_args().names or [path.stem for path in IMAGES.glob('*.svg') if path.stem in VARIANTS]
    matplotlib.rcParams.update({'svg.fonttype': 'none', 'svg.hashsalt': 'mmvit_backbones'})  # text; the same file again
    for name in names:
        with torch.device('meta'):
            backbone = get_model(name, 'backbone').eval()
            maps = backbone.forward_stages(torch.empty(1, 3, SIZE, SIZE))
        metadata = {'Date': None, 'Description': f'drawn by tools/dev/draw_networks.py {name}'}
        draw(name, backbone, maps).savefig(IMAGES / f'{name}.svg', bbox_inches='tight', metadata=metadata)


def draw(name, backbone, maps):
    stages = [describe((backbone.stem_modules() if i == 0 else []) + backbone.stage_modules(i))
              for i in range(backbone.num_stages)]
    height = 1 + 0.75 * max(map(len, stages))
    figure = Figure(figsize=(WIDTH * (len(stages) + 0.45), height + 0.9))
    axes = figure.subplots()
    axes.set(xlim=(0, WIDTH * (len(stages) + 0.45)), ylim=(-0.45, height + 0.35))
    axes.axis('off')
    axes.text(0.1, height + 0.1, name, fontsize=13, weight='bold')
    axes.text(0.45 * WIDTH / 2, height / 2, f'image\n{SIZE}×{SIZE}×3', ha='center', va='center', fontsize=9)
    for i, (lines, x) in enumerate(zip(stages, maps)):
        left = WIDTH * (i + 0.45)
        center = left + WIDTH / 2
        axes.annotate('', (left + 0.12, height / 2), (left - 0.12, height / 2), arrowprops=dict(arrowstyle='->'))
        axes.add_patch(Rectangle((left + 0.12, 0.1), WIDTH - 0.24, height - 0.25, color=FILLS[i % len(FILLS)]))
        axes.text(center, height - 0.4, f'stage {i + 1}, stride {backbone.strides[i]}', ha='center', fontsize=10,
                  weight='bold')
        for row, (title, parts) in enumerate(lines):
            top = height - 0.85 - 0.75 * row
            axes.text(center, top, title, ha='center', fontsize=9)
            axes.text(center, top - 0.1, parts, ha='center', va='top', fontsize=7, color='#444444')
        _, channels, rows, columns = x.shape
        axes.text(center, -0.25, f'{rows}×{columns}×{channels}', ha='center', fontsize=9)
    return figure


def describe(modules):
    """Returns two texts for each sequence of equal blocks: their number with their class, and their layers."""
    blocks = [block for module in modules for block in blocks_of(module) if any(block.children())]
    groups = [(kind, parts, len(list(group))) for (kind, parts), group in groupby(blocks, key=kind_and_parts)]
    return [(f'{count} × {kind}' if count > 1 else kind, textwrap.fill(parts, 36)) for kind, parts, count in groups]


def kind_and_parts(block):
    parts = dict.fromkeys(type(child).__name__ for child in block.children())
    return type(block).__name__, ', '.join(part for part in parts if not part.endswith(LEFT_OUT))


def blocks_of(module):
    """Returns the blocks of a stage, inside and outside its module lists."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    children = list(module.children())
    if not any(isinstance(child, nn.ModuleList) for child in children):
        return [module]
    return [block for child in children for block in (child if isinstance(child, nn.ModuleList) else [child])]


if __name__ == '__main__':
    main()
