"""Draws the attention maps of all blocks of a network in one figure."""
from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.backbones.regionvit import RegionViT
from mmvit_backbones.backbones.reswin import Windows
from mmvit_backbones.errors import UsageError
from mmvit_backbones.layers.plain_attention import WindowAttention
from mmvit_backbones.utils.file_access import check_file, check_outputs
from mmvit_backbones.zoo.reading import find_checkpoint

from ..folders.images import read_rgb
from .drawn_networks import drawn_network, normalize
from .figures import save_figure, wrapped

MULTIPLE = 32  # sides of the network's input are multiples of this, so the maps of all stages cover all pixels
TITLE: dict = dict(fontsize=9, pad=3)  # of a panel
HEADS = 2  # drawn beside their mean
VALUES = ('pool_v', 'value', 'kv', 'kqv', 'qkv')  # modules whose last output channels are attention values


def draw_attention(image: str, network: str, out: str, *, checkpoint: str | None = None,
                   pretrained: bool | str = False, query: tuple[int, int] | None = None,
                   size: int = 224, blocks: Sequence[int] | None = None) -> None:
    """Draws the attention of one pixel in all blocks of a network in one figure, which has a row per block.

    The title has the network and its weights; a color scale, in which gray is 0, is beside each block's maps.

    Args:
        image (str): Image file.
        network (str): Name of a network.
        out (str): File of the figure.
        checkpoint (str | None): Published weights or a training checkpoint. Defaults to None: random weights.
        pretrained (bool | str): True for the published weights, or the tag of others. Defaults to False.
        query (tuple[int, int] | None): x and y of the pixel whose attention is drawn. Defaults to None: the center of
            the image.
        size (int): Shorter side of the network's input in pixels; both become multiples of 32. Defaults to 224.
        blocks (Sequence[int] | None): Indices of the rows to draw. Defaults to None: all.

    Raises:
        UsageError: If an argument is invalid, or the network has no attention or is a RegionViT, which has no maps of
            one pixel.
        CheckpointError: If the weights cannot be read or are for another network.
    """
    check_file(image, 'image')
    check_outputs('out', [out], [image, checkpoint and find_checkpoint(checkpoint)])
    backbone, statistics, checkpoint = drawn_network(network, checkpoint, pretrained)
    source = read_rgb(image)
    pixels = resize(source, size)
    queries = place(query, source.size, pixels.shape[1:])
    found = record(backbone, normalize(pixels, statistics), queries)
    names = list(found)
    numbers = range(len(found)) if blocks is None else blocks
    if not all(0 <= number < len(found) for number in numbers):
        raise UsageError(f'blocks must be from 0 to {len(found) - 1}, got {blocks}')
    draw(pixels, queries, {f'{i}: {names[i]}': found[names[i]] for i in numbers}, out,
         f'{network}, {f"weights {checkpoint}" if checkpoint else "random weights: nothing was learned"}')


def resize(image: Image.Image, size: int) -> Tensor:
    """Resizes an image and returns RGB values ``(3, H, W)`` from 0 to 255.

    Args:
        image (Image.Image): The image.
        size (int): Its new shorter side; both sides become multiples of ``MULTIPLE``.
    """
    scale = size / min(image.size) / MULTIPLE
    sides = [max(round(side * scale), 1) * MULTIPLE for side in image.size]
    image = image.resize(sides, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


# ---- recording


def record(backbone: Backbone, images: Tensor, queries: Tensor) -> dict[str, Tensor]:
    """Returns the attention maps ``(heads, h, w)`` of each block for the query weights in an image.

    Args:
        backbone (Backbone): The network.
        images (Tensor): The image, ``(1, 3, H, W)``.
        queries (Tensor): Weights of its pixels, ``(H, W)``.

    Attention outputs a weighted sum of values, so the gradient of the output with respect to the values gives the
    weights. This also holds for shifts, masks, pooled keys, refined maps and varied-size windows.
    """
    if isinstance(backbone, RegionViT):
        raise UsageError('network must not be a RegionViT, which attends to windows together with regional tokens')
    blocks: dict[str, Tensor] = {}
    rows, columns = (-(-side // backbone.strides[-1]) for side in images.shape[2:])
    attentions: dict[str, Any] = {name: attn for name, block in backbone.named_blocks().items()
                                  if values_of(attn := getattr(block, 'attn', None)) is not None}
    if not attentions:
        raise UsageError(f'network must have attention, whose maps are drawn; {type(backbone).__name__} has none')
    watchers = [Watcher(attn, name, queries, (rows, columns), blocks) for name, attn in attentions.items()]
    backbone.requires_grad_(False)
    with torch.enable_grad():
        backbone(images)
    for watcher in watchers:
        for hook in watcher.hooks:
            hook.remove()
    return blocks


def values_of(attn: Any) -> Any:
    """Returns the module whose last output channels are attention values; None if there is none."""
    return next((getattr(attn, key) for key in VALUES if hasattr(attn, key)), None)


class Watcher:
    """Hooks on an attention module that store its maps ``(heads, h, w)`` in ``blocks[name]``.

    Args:
        attn (nn.Module): Module with an output projection ``proj`` and one of ``VALUES``.
        name (str): Name of the block.
        queries (Tensor): Weights of the query positions ``(H, W)``.
        patches (tuple[int, int]): Numbers of rows and columns of the tokens, if they are flattened.
        blocks (dict): Dict to store the maps in.
    """

    attn: Any  # its attributes depend on the network

    def __init__(self, attn: nn.Module, name: str, queries: Tensor, patches: tuple[int, int],
                 blocks: dict[str, Tensor]) -> None:
        self.attn, self.name, self.queries, self.patches, self.blocks = attn, name, queries, patches, blocks
        self.num_heads = getattr(attn, 'num_heads', 1)
        self.hooks = [attn.register_forward_pre_hook(self.start, with_kwargs=True),
                      values_of(attn).register_forward_hook(self.take_values),
                      attn.get_submodule('proj').register_forward_pre_hook(self.record_attention)]
        if hasattr(attn, 'up'):  # ResTv2 also adds upsampled values to the output, which are not part of the attention
            self.hooks.append(attn.get_submodule('up').register_forward_pre_hook(
                lambda module, inputs: inputs[0].detach()))

    def start(self, attn: nn.Module, inputs: tuple, options: dict[str, Any]) -> None:
        self.arguments = signature(attn.forward).bind(*inputs, **options).arguments
        x = self.arguments['x']
        self.grid = grid_of(x) if x.ndim == 4 else self.patches

    def take_values(self, module: nn.Module, inputs: tuple, out: Tensor) -> Tensor:
        self.values = out.detach().requires_grad_()
        return self.values

    def record_attention(self, proj: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        out, = inputs
        grid = grid_of(out) if out.ndim == 4 else self.grid
        weights = self.pool(grid)[..., None]
        weights_of_values = self.gradient((weights * self.first_channels(to_map(out, grid))).sum())
        self.blocks[self.name] = self.place_values(weights_of_values).detach()
        return out.detach()

    def gradient(self, output: Tensor) -> Tensor:
        """Returns the gradient with respect to the first channel of each head's values, ``(..., heads)``."""
        gradient, = torch.autograd.grad(output, self.values)
        if gradient.ndim == 5:  # values (1, heads, h, w, d)
            return gradient[..., 0].permute(0, 2, 3, 1)
        return self.first_channels(gradient[..., -self.attn.proj.in_features:])

    def first_channels(self, x: Tensor) -> Tensor:
        """Returns the first channel of every head, ``(..., heads)`` of ``(..., C)``."""
        return x.unflatten(-1, (self.num_heads, -1))[..., 0]

    def pool(self, grid: tuple[int, int]) -> Tensor:
        """Returns the query weights pooled to ``grid`` (rows, columns), with a sum of 1."""
        weights = F.adaptive_avg_pool2d(self.queries[None], grid)[0]
        return weights / weights.sum()

    def place_values(self, x: Tensor) -> Tensor:
        """Rearranges the weights of the values from the order in the attention module to a map ``(heads, h, w)``."""
        x = to_map(x, grid_of(x) if x.ndim == 4 else self.grid)
        if hasattr(self.attn, 'window_size'):  # values are padded to whole windows, and shifted in ReSwin
            windows = self.arguments.get('windows')
            shift = windows.shift if isinstance(windows, Windows) else 0
            x = x.roll((shift, shift), (0, 1))
            is_centered = isinstance(self.attn, WindowAttention)
            top, left = [(given - kept) // 2 * is_centered for given, kept in zip(x.shape, self.grid)]
            x = x[top:top + self.grid[0], left:left + self.grid[1]]
        return x.permute(2, 0, 1)


def grid_of(x: Tensor) -> tuple[int, int]:
    """Returns height and width of ``(1, H, W, ...)``."""
    height, width = x.shape[1:3]
    return height, width


def to_map(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Converts ``(1, h, w, C)`` or tokens ``(1, N, C)``, with or without a class token, to ``(h, w, C)``."""
    return x[0].flatten(0, -2)[-grid[0] * grid[1]:].unflatten(0, grid)


# ---- query positions


def place(query: tuple[int, int] | None, image_size: tuple[int, int], shape: Sequence[int]) -> Tensor:
    """Returns query weights ``(H, W)``, with 1 at the position of a pixel of the image file and 0 elsewhere.

    The pixel is the center by default; raises UsageError if it is not in the image.
    """
    width, height = image_size
    x, y = query or (width // 2, height // 2)
    if not (0 <= x < width and 0 <= y < height):
        raise UsageError(f'query must be inside the image of {width} x {height} pixels (width x height), got {x},{y}')
    queries = torch.zeros(*shape)
    queries[y * shape[0] // height, x * shape[1] // width] = 1
    return queries


# ---- the figure


def draw(pixels: Tensor, queries: Tensor, blocks: dict[str, Tensor], path: str, title: str) -> None:
    """Draws a row per block: the image with the query position, the mean over the heads, and the first heads.

    The maps in a row have one color scale, which is beside them.
    """
    width, aspect = 2 * (2 + HEADS), pixels.shape[1] / pixels.shape[2]
    figure = Figure(figsize=(width + 0.7, (2 * aspect + 0.4) * len(blocks) + 0.4), layout='constrained')
    for row, (name, maps) in zip(figure.subplots(len(blocks), 2 + HEADS, squeeze=False), blocks.items()):
        for axes in row:  # a block may have fewer heads
            axes.axis('off')
        row[0].set_title(name, **TITLE)
        row[0].imshow(pixels.byte().permute(1, 2, 0).numpy())
        y, x = divmod(int(queries.argmax()), queries.shape[1])
        row[0].plot(x, y, marker='+', color='red', markersize=9, markeredgewidth=2)
        shown = dict(mean=maps.mean(0), **{f'head {i}': heat for i, heat in enumerate(maps[:HEADS])})
        largest, is_signed = float(maps.abs().max()), bool(maps.min() < 0)
        drawn = [show(axes, f'attention, {text}', pixels, heat, largest, is_signed)
                 for axes, (text, heat) in zip(row[1:], shown.items())]
        figure.colorbar(drawn[0], ax=row.tolist(), ticks=MaxNLocator(4), aspect=30)
    figure.suptitle(wrapped(title, 15 * width // 2))
    save_figure(figure, path, dpi=100)


def show(axes: Axes, title: str, pixels: Tensor, heat: Tensor, largest: float, is_signed: bool) -> AxesImage:
    """Draws a map over the image in gray, in colors that end at ``largest``."""
    _, height, width = pixels.shape
    axes.set_title(title, **TITLE)
    axes.imshow(pixels.mean(0).numpy(), cmap='gray')
    colors: dict = dict(cmap='coolwarm', vmin=-largest) if is_signed else dict(cmap='inferno', vmin=0)
    return axes.imshow(heat.masked_fill(heat == 0, torch.nan).numpy(), alpha=0.65, vmax=largest,
                       extent=(-0.5, width - 0.5, height - 0.5, -0.5), **colors)
