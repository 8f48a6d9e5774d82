"""Draw what the blocks of a network with attention residuals look at: ReViT, ReMViTv2, ReSwin.

    python tools/visualize_attention.py IMAGE --network remvitv2_tiny --checkpoint CHECKPOINT --query 120,80
    python tools/visualize_attention.py IMAGE --network reswin_tiny --checkpoint CHECKPOINT --evidence 281

One row per block, first its attention (after the softmax), then its residual (the logits that it hands on), each for
the mean of the heads and for single heads. Drawn is what one pixel of the image looks at (`--query`), or what the
places that speak for a class look at, in proportion to their part in its logit (`--evidence`; class activation maps,
Zhou et al., CVPR 2016, arXiv 1512.04150). Every panel has its own scale; windows that are not looked from stay grey.
"""
import argparse

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mmvit_backbones import get_model
from mmvit_backbones.checkpoints import load_checkpoint_file
from mmvit_backbones.checkpoints.loading import convert_if_published, find_weights
from mmvit_backbones.cli.config import UsageError
from mmvit_backbones.cli.launch import run_script
from mmvit_backbones.cli.predict import find_images
from mmvit_backbones.ops.window import shifted_window_mask, window_reverse
from mmvit_backbones.zoo import IMAGENET_MEAN, IMAGENET_STD, VARIANTS

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

NETWORKS = [name for name, variant in VARIANTS.items() if variant.family.name in ('ReViT', 'ReMViTv2', 'ReSwin')]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('image', metavar='IMAGE', help='image file')
    parser.add_argument('--network', required=True, choices=NETWORKS, help=', '.join(NETWORKS), metavar='NAME')
    parser.add_argument('--checkpoint', help="the authors' weights or ours (default: random weights)")
    looking = parser.add_mutually_exclusive_group()
    looking.add_argument('--query', type=pixel, metavar='X,Y', help='pixel of the image file (default: its center)')
    looking.add_argument('--evidence', type=int, metavar='CLASS', help='number of a class; -1 is the predicted one')
    parser.add_argument('--size', type=int, default=224,
                        help='short side of the image for the network, in pixels (default: %(default)s)')
    parser.add_argument('--blocks', type=int, nargs='+', help='which blocks, from 0 (default: all)')
    parser.add_argument('--heads', type=int, nargs='+', default=[0, 1],
                        help='which heads, next to their mean (default: 0 1)')
    parser.add_argument('--out', default='attention.png', help='figure to write (default: %(default)s)')
    return parser


def pixel(text: str) -> tuple[int, int]:
    x, y = text.split(',')
    return int(x), int(y)


def main(args: argparse.Namespace) -> None:
    file, = find_images([args.image])
    image = Image.open(file).convert('RGB')
    pixels = resize(image, args.size)
    try:
        backbone = get_model(args.network, 'backbone', args.checkpoint).eval()
    except ValueError as error:
        raise UsageError(str(error)) from None
    blocks = record(backbone, pixels)
    if args.evidence is None:
        looking = place(args.query or (image.width // 2, image.height // 2), image.size, pixels.shape[1:])
    else:
        looking = evidence(backbone, pixels, classifier(args.checkpoint), args.evidence)
    numbers = range(len(blocks)) if args.blocks is None else args.blocks
    if not all(0 <= number < len(blocks) for number in numbers):
        raise UsageError(f'--blocks must be from 0 to {len(blocks) - 1}, got {args.blocks}')
    draw(pixels, looking, {number: blocks[number] for number in numbers}, args.heads, args.out)
    print(f'{file} -> {args.out}')


def resize(image: Image.Image, size: int) -> Tensor:
    """RGB from 0 to 255, ``(3, H, W)`` with the short side of that size."""
    scale = size / min(image.size)
    image = image.resize([max(round(side * scale), 1) for side in image.size], Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


# ---- what the network sees


@torch.no_grad()
def record(backbone: nn.Module, pixels: Tensor) -> list['GlobalBlock | WindowBlock']:
    """The logits of every block for one image."""
    recorded = []

    def keep(block: nn.Module, inputs: tuple, outputs: tuple) -> None:
        x, logits = inputs[0], outputs[1][0]
        if hasattr(block.attn, 'window_size'):
            recorded.append(WindowBlock(logits, inputs[2], block.attn.window_size, *x.shape[1:3]))
        else:
            recorded.append(GlobalBlock(logits))

    hooks = [module.register_forward_hook(keep) for module in backbone.modules() if hasattr(module, 'attn')]
    maps = features(backbone, pixels)
    for hook in hooks:
        hook.remove()
    for block in recorded:
        if block.logits.ndim == 3 and isinstance(block, GlobalBlock):  # a plain network: tokens without their grid
            grid = maps.shape[1:]
            block.logits = block.logits.unflatten(2, grid).unflatten(1, grid)
    return recorded


def features(backbone: nn.Module, pixels: Tensor) -> Tensor:
    """The last map ``(C, h, w)``, after its norm."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return backbone(((pixels - mean) / std)[None])[-1][0]


class GlobalBlock:
    """Attention between all places, pooled or not: logits ``(heads, h, w, h', w')``."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def seen(self, looking: Tensor, softmax: bool) -> Tensor:
        """What is seen from where ``looking`` ``(H, W)`` is: ``(heads, h', w')``."""
        _, height, width, *key_grid = self.logits.shape
        weights = F.adaptive_avg_pool2d(looking[None], (height, width)).flatten()
        logits = self.logits.flatten(3).flatten(1, 2)
        maps = logits.softmax(-1) if softmax else logits
        return torch.einsum('q,hqk->hk', weights / weights.sum(), maps).unflatten(1, key_grid)


class WindowBlock:
    """Attention in windows, shifted or not: logits ``(windows, heads, N, N)`` of a map of ``height`` x ``width``."""

    def __init__(self, logits: Tensor, shift: int, side: int, height: int, width: int) -> None:
        self.logits = logits
        self.side = side
        self.shift = shift
        self.grid = height, width

    def seen(self, looking: Tensor, softmax: bool) -> Tensor:
        """What is seen from where ``looking`` ``(H, W)`` is: ``(heads, h, w)``, NaN where no window looks."""
        height, width = self.grid
        padded = [-(-length // self.side) * self.side for length in self.grid]
        weights = F.adaptive_avg_pool2d(looking[None], self.grid)[0]
        weights = F.pad(weights, (0, padded[1] - width, 0, padded[0] - height)).roll((-self.shift, -self.shift), (0, 1))
        weights = weights.unflatten(1, (-1, self.side)).unflatten(0, (-1, self.side)).transpose(1, 2).flatten(2)
        weights = weights.flatten(0, 1)  # (windows, N)
        logits = self.logits
        if softmax and self.shift:
            logits = logits + shifted_window_mask(*padded, self.side, self.shift, like=logits)
        maps = torch.einsum('wq,whqk->whk', weights, logits.softmax(-1) if softmax else logits)
        totals = weights.sum(1)[:, None, None]
        # Attention is shared out over the image, as much as a window is looked from; logits are its mean.
        share = totals.sum() if softmax else totals
        maps = (maps / share).masked_fill(totals == 0, torch.nan)
        maps = window_reverse(maps[None, ..., None], self.side, *padded)[0]
        return maps.roll((self.shift, self.shift), (0, 1))[:height, :width].permute(2, 0, 1)


# ---- from where it is looked


def place(query: tuple[int, int], image_size: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """1 at a pixel of the image file of that width and height, where it lies in the image of shape ``(H, W)``."""
    if not all(0 <= position < length for position, length in zip(query, image_size)):
        raise UsageError(f'--query {query[0]},{query[1]} is outside of the image of '
                         f'{image_size[0]} x {image_size[1]} pixels')
    looking = torch.zeros(*shape)
    x, y = (position * new // old for position, old, new in zip(query, image_size, reversed(shape)))
    looking[y, x] = 1
    return looking


def classifier(checkpoint: str | None) -> Tensor:
    """The weights of the last layer, ``(classes, C)``."""
    if checkpoint is None:
        raise UsageError('--evidence needs a --checkpoint that has a classifier')
    weights = find_weights(convert_if_published(load_checkpoint_file(checkpoint)))
    if 'head.fc.weight' not in weights:
        raise UsageError(f'--evidence needs a classifier, checkpoint {checkpoint} has none')
    return weights['head.fc.weight'].float()


@torch.no_grad()
def evidence(backbone: nn.Module, pixels: Tensor, weights: Tensor, number: int) -> Tensor:
    """What each place adds to the logit of a class, ``(H, W)``; what speaks against it counts nothing."""
    if not -1 <= number < len(weights):
        raise UsageError(f'--evidence must be from -1 to {len(weights) - 1}, got {number}')
    maps = features(backbone, pixels)
    if number == -1:
        number = int((weights @ maps.mean((1, 2))).argmax())
    parts = torch.einsum('c,chw->hw', weights[number], maps).clamp(min=0)
    return F.interpolate(parts[None, None], pixels.shape[1:], mode='bilinear')[0, 0] + 1e-9


# ---- the figure


def draw(pixels: Tensor, looking: Tensor, blocks: dict, heads: list[int], path: str) -> None:
    columns = 1 + 2 * (1 + len(heads))
    aspect = pixels.shape[1] / pixels.shape[2]
    figure, grid = plt.subplots(len(blocks), columns, figsize=(1.5 * columns, (1.5 * aspect + 0.3) * len(blocks)),
                                squeeze=False)
    for axes in grid.flat:
        axes.axis('off')
    is_place = int((looking > 0).sum()) == 1
    for row, (number, block) in zip(grid, blocks.items()):
        show(row[0], pixels, None if is_place else looking, 'viridis', f'block {number}')
        if is_place:
            y, x = divmod(int(looking.argmax()), looking.shape[1])
            row[0].plot(x, y, marker='+', color='red', markersize=9, markeredgewidth=2)
        panels = iter(row[1:])
        for kind, colours in (('attention', 'inferno'), ('residual', 'coolwarm')):
            maps = block.seen(looking, softmax=kind == 'attention')
            show(next(panels), pixels, maps.mean(0), colours, f'{kind}, mean')
            for head in heads:
                if head < len(maps):
                    show(next(panels), pixels, maps[head], colours, f'{kind}, head {head}')
                else:
                    next(panels)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def show(axes: plt.Axes, pixels: Tensor, heat: Tensor | None, colours: str, title: str) -> None:
    """A map over the image, which is grey beneath it."""
    axes.set_title(title, fontsize=7, pad=2)
    _, height, width = pixels.shape
    if heat is None:
        axes.imshow(pixels.byte().permute(1, 2, 0).numpy())
        return
    axes.imshow(pixels.mean(0).numpy(), cmap='gray')
    axes.imshow(heat.numpy(), cmap=colours, alpha=0.65, extent=(-0.5, width - 0.5, height - 0.5, -0.5))


if __name__ == '__main__':
    run_script(get_parser(), main)
