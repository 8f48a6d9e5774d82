"""RegionViT: local tokens in windows, and for each window a regional token, through which windows communicate.

RegionViT: Regional-to-Local Attention for Vision Transformers (Chen, Panda and Fan, ICLR 2022, arXiv 2106.02689).
"""
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import DropPath, Mlp, ModuleList, drop_path_schedule, init_linear, trunc_normal_
from ..layers.position_bias import resize_table_of_heads
from ..layers.resize import interpolate, resize_on_load
from ..ops.attention import dot_product_attention
from ..ops.sizes import is_positive, may_be_nonzero
from ..ops.window import crop, pad, position_bias
from ..utils import versions
from .base import Backbone, pyramid

PATCH_SIZE = 4
NORM_EPS = 1e-6  # of the norms over tokens
MAP_NORM_EPS = 1e-5  # of the norms between convolutions and after stages


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolves a channels-last map."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ThreeConvEmbed(nn.Module):
    """Pixels to local tokens by three 3 x 3 convolutions: ``(B, 3, H, W)`` to ``(B, ceil(H/4), ceil(W/4), C)``."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels // 4, 3, stride=2, padding=1)
        self.norm1 = nn.LayerNorm(channels // 4, eps=MAP_NORM_EPS)
        self.conv2 = nn.Conv2d(channels // 4, channels // 2, 3, stride=2, padding=1)
        self.norm2 = nn.LayerNorm(channels // 2, eps=MAP_NORM_EPS)
        self.conv3 = nn.Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images).permute(0, 2, 3, 1)
        x = convolve(self.conv2, versions.gelu(self.norm1(x)))
        return convolve(self.conv3, versions.gelu(self.norm2(x)))


class OneConvEmbed(nn.Module):
    """Pixels to local tokens by one 8 x 8 convolution: ``(B, 3, H, W)`` to ``(B, (H+2) // 4, (W+2) // 4, C)``."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 8, stride=PATCH_SIZE, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).permute(0, 2, 3, 1)


EMBEDDINGS = {'3conv': ThreeConvEmbed, '1conv': OneConvEmbed}


class RegionEmbed(nn.Module):
    """Pixels to regional tokens, one per region of ``region_size`` pixels: ``(B, 3, H, W)`` to ``(B, Hr, Wr, C)``."""

    def __init__(self, in_channels: int, channels: int, region_size: int) -> None:
        super().__init__()
        self.region_size = region_size
        self.conv = nn.Conv2d(in_channels, channels, region_size, stride=region_size)

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = region_padding(images.shape[2], images.shape[3], self.region_size)
        images = F.pad(images, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return self.conv(images).permute(0, 2, 3, 1)


def region_padding(height: int, width: int, region_size: int) -> tuple[int, int]:
    """Returns the rows and columns of zeros around an image, as in the authors' code.

    If either side is not a multiple of ``region_size``, both are padded, and a side that is a multiple gains a whole
    region. With regions of 28 pixels, an image of 28 x 56 is not padded, one of 28 x 50 gains 28 rows and 6 columns.
    """
    rows, columns = height % region_size, width % region_size  # beyond whole regions
    is_padded = is_positive(rows + columns)
    return is_padded * region_size - rows, is_padded * region_size - columns


def region_partition(local: Tensor, grid: Sequence[int], window_size: int) -> Tensor:
    """Pads a map with zeros, right and bottom, to a grid of windows: ``(B, H, W, C)`` to ``(B, windows, w * w, C)``."""
    bottom, right = (count * window_size - length for count, length in zip(grid, local.shape[1:3]))
    local = pad(local, bottom=bottom, right=right)
    local = local.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))
    return local.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def region_reverse(windows: Tensor, grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Reverses :func:`region_partition`, to a map of ``size``."""
    side = math.isqrt(windows.shape[2])
    local = windows.unflatten(2, (side, side)).unflatten(1, grid).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return crop(local, *size)


class WindowMask(NamedTuple):
    """Attention mask of windows, whose first token is the regional one; the same for all images of a batch.

    ``sees`` ``(windows, 1, N, 1)`` is 0 for a query that may attend to no key, else 1. ``mask``
    ``(windows, 1, N, N)`` is -inf at the keys that the other queries may not attend to, else 0.
    """
    sees: Tensor
    mask: Tensor


def window_mask(size: Sequence[int], grid: Sequence[int], window_size: int, like: Tensor) -> WindowMask:
    """Returns the mask for the windows of a map of ``size`` (rows, columns), with the dtype and device of ``like``."""
    (height, width), (window_rows, window_columns) = size, grid
    rows = inside_map(height, window_rows, window_size, like)
    columns = inside_map(width, window_columns, window_size, like)
    inside = torch.stack(torch.broadcast_tensors(rows[:, None], columns), dim=-1).to(like.dtype)[None]
    inside = F.pad(region_partition(inside, grid, window_size)[0], (0, 0, 1, 0), value=1.)  # (windows, N, 2)
    allowed = allowed_pairs(inside)[:, None]
    sees = allowed.any(-1, keepdim=True)
    mask = torch.zeros_like(allowed, dtype=like.dtype).masked_fill(sees & ~allowed, -torch.inf)
    return WindowMask(sees.to(like.dtype), mask)


def allowed_pairs(inside: Tensor) -> Tensor:
    """Returns which tokens attend to which, ``(windows, N, N)``.

    ``inside`` ``(windows, N, 2)`` is 1 where the row, and where the column, of a token is inside the map. Two tokens
    attend to each other if the rows of both and the columns of both are inside. In the last window, the lower right
    corner, rows or columns suffice, as in the authors' code: of three tokens (1, 1), (1, 0) and (0, 1), the first
    attends to itself alone in other windows, but to all three in the last one.
    """
    num_axes = inside @ inside.transpose(1, 2)  # 0 to 2: along which both tokens are inside
    window = torch.arange(inside.shape[0], device=inside.device)[:, None, None]
    is_last = window == inside.shape[0] - 1
    return num_axes >= torch.where(is_last, 1, 2)


def inside_map(length: int, num_windows: int, window_size: int, like: Tensor) -> Tensor:
    """Returns which positions of an axis, ``(num_windows * window_size, )``, count as inside a map of ``length``.

    As in the authors' code, only positions of the last window can be outside: with 3 windows of 2 and a length of 5,
    position 5 is outside; with a length of 1, positions 4 and 5 are.
    """
    position = torch.arange(num_windows * window_size, device=like.device)
    return (position < length) | (position < (num_windows - 1) * window_size)


def resize_kernel(weight: Tensor, shape: torch.Size) -> Tensor:
    """Resizes a convolution kernel to another region size, bicubic."""
    return interpolate(weight, shape[2:], 'bicubic')


class Attention(nn.Module):
    """Attention in windows, whose first token is the regional one, with a position bias between local tokens."""

    def __init__(self, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.qkv = nn.Linear(channels, 3 * channels)
        self.rel_pos = nn.Parameter(torch.empty(num_heads, (2 * window_size - 1)**2))
        self.proj = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        trunc_normal_(self.rel_pos)

    def position_bias(self) -> Tensor:
        """Returns the bias ``(heads, N, N)`` with ``N = 1 + window_size ** 2``; 0 from and to the regional token.

        Paper: arXiv 2106.02689, relative position bias.
        """
        return F.pad(position_bias(self.rel_pos, self.window_size, wrapped=True), (1, 0, 1, 0))

    def forward(self, x: Tensor, is_local: bool = False, mask: WindowMask | None = None) -> Tensor:
        """Keeps the shape ``(B, windows, N, C)``; all regional tokens are one window, without bias and mask."""
        q, k, v = self.qkv(x).unflatten(3, (3, self.num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
        attn_mask = None
        if is_local:
            bias = self.position_bias()
            if mask is not None:  # a query without any allowed key takes the mean of all values
                q, bias = q * mask.sees, bias * mask.sees + mask.mask
            attn_mask = bias.expand(x.shape[1], -1, -1, -1).flatten(0, 1)[None].to(q.dtype)
        q, k, v = (y.flatten(1, 2) for y in (q, k, v))  # windows as heads, so that all images share a mask
        x = dot_product_attention(q, k, v, attn_mask)  # softmax(q k^T / sqrt(d) + attn_mask) v
        return self.proj(x.unflatten(1, (-1, self.num_heads)).transpose(2, 3).flatten(3))


class Block(nn.Module):
    """Attention among the regional tokens, then in every window with its regional token, then an MLP.

    Paper: arXiv 2106.02689, R2L attention.

    Stochastic depth drops the first branch per image, the others per window.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm0 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = Attention(channels, num_heads, window_size)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, local: Tensor, regional: Tensor, mask: WindowMask | None) -> tuple[Tensor, Tensor]:
        """Keeps the shapes ``(B, windows, w * w, C)`` and ``(B, windows, C)``."""
        regional = regional + self.drop_path(self.attn(self.norm0(regional[:, None])))[:, 0]
        x = torch.cat([regional[:, :, None], local], dim=2)
        x = x + self.drop_path(self.attn(self.norm1(x), True, mask).flatten(0, 1)).view_as(x)
        x = x + self.drop_path(self.mlp(self.norm2(x)).flatten(0, 1)).view_as(x)
        regional, local = x.split([1, local.shape[2]], dim=2)
        return local, regional[:, :, 0]


class Projection(nn.Module):
    """Halves a map and doubles its channels: LayerNorm, GELU, depth-wise convolution; both maps share it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=MAP_NORM_EPS)
        self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.conv, versions.gelu(self.norm(x)))


class Stage(nn.Module):
    """Projection of both maps if ``project``, then blocks on one grid of windows.

    ``peg`` adds a depth-wise convolution of each map after the first block (Chu et al., arXiv 2102.10882).
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, mlp_ratio: float, peg: bool,
                 drop_paths: Sequence[float], project: bool) -> None:
        super().__init__()
        self.window_size = window_size
        self.projection = Projection(channels // 2) if project else nn.Identity()
        self.blocks = ModuleList(Block(channels, num_heads, window_size, mlp_ratio, rate) for rate in drop_paths)
        self.peg = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) if peg else None

    def forward(self, local: Tensor, regional: Tensor, run_block: Callable) -> tuple[Tensor, Tensor]:
        """Maps ``(B, H, W, C)`` and ``(B, Hr, Wr, C)``; ``run_block(block, *arguments)`` calls a block."""
        local, regional = self.projection(local), self.projection(regional)
        size, grid = local.shape[1:3], regional.shape[1:3]
        padding = [count * self.window_size - length for count, length in zip(grid, size)]
        mask = window_mask(size, grid, self.window_size, like=local) if may_be_nonzero(*padding) else None
        local, regional = region_partition(local, grid, self.window_size), regional.flatten(1, 2)
        for i, block in enumerate(self.blocks):
            local, regional = run_block(block, local, regional, mask)
            if i == 0 and self.peg is not None:
                local, regional = region_reverse(local, grid, size), regional.unflatten(1, grid)
                local, regional = (x + convolve(self.peg, x) for x in (local, regional))
                local, regional = region_partition(local, grid, self.window_size), regional.flatten(1, 2)
        return region_reverse(local, grid, size), regional.unflatten(1, grid)


@MODELS.register_module()
class RegionViT(Backbone):
    """RegionViT and RegionViT+: regional tokens attend to each other, then local tokens within windows.

    Works at any image size from one pixel up (two with ``local_embed='1conv'``) if the windows do not shrink from
    stage to stage. Windows ``(14, 14, 14, 7)`` cover up to 224 x 224 pixels; larger images raise ``ValueError``.

    Quirks kept for checkpoint compatibility:

    - The table of the position bias is wrapped around: displacement 0 at ``window_size // 2``, key minus query.
    - In the lower right window, tokens attend to the padding: the masks of rows and columns are united there.
    - A query without any allowed key takes the mean of all values, and tokens of the padding change in every block.
    - If one side of an image is not a multiple of the region, the other gains a region of padding even if it is.
    - Projection and position encoding are shared by local and regional maps, attention by both of a block's steps.
    - Stage norms are in the path: the next stage takes the normalized local map, but the regional one as it is.
    - Published detectors take RGB images, with mean ``[103.53, 116.28, 123.675]`` and standard deviation
      ``[57.375, 57.12, 58.395]``, which are in the order BGR.

    Paper: arXiv 2106.02689, figure 2.
    Paper: arXiv 2106.02689, variants.

    Args:
        arch (str | dict): ``'tiny'``, ``'small'``, ``'medium'``, ``'base'``, or a dict with ``local_embed``
            (``'3conv'`` or ``'1conv'``), ``embed_dims`` (int), ``depths`` and ``num_heads`` (a list each, one entry
            per stage) and ``mlp_ratio`` (float).
        out_tokens (str): ``'local'`` returns the local maps, strides 4, 8, 16, 32; ``'regional'`` the regional ones,
            which a classifier reads.
        window_size (int | Sequence[int]): Side of the windows, in tokens, for all stages or for each. A region has four
            times the side of a window of the first stage, in pixels. Weights of other windows are resized on load.
        peg (bool): Positional encoding generator in every stage.
        stage_norm (bool): LayerNorm after every stage, ``norm0`` to ``norm3``, in the path.
        kwargs: Common arguments of :class:`Backbone`.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import RegionViT
        >>> [tuple(x.shape) for x in RegionViT('tiny', window_size=14)(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    arch_zoo = {
        'tiny': dict(local_embed='3conv', embed_dims=64, depths=[2, 2, 8, 2], num_heads=[2, 4, 8, 16], mlp_ratio=4),
        'small': dict(local_embed='3conv', embed_dims=96, depths=[2, 2, 8, 2], num_heads=[3, 6, 12, 24], mlp_ratio=4),
        'medium': dict(local_embed='1conv', embed_dims=96, depths=[2, 2, 14, 2], num_heads=[3, 6, 12, 24], mlp_ratio=4),
        'base': dict(local_embed='1conv', embed_dims=128, depths=[2, 2, 14, 2], num_heads=[4, 8, 16, 32], mlp_ratio=4),
    }
    stem = ('local_embed', 'region_embed')

    def __init__(self, arch: str | dict = 'tiny', *, out_tokens: Literal['local', 'regional'] = 'local',
                 window_size: int | Sequence[int] = 7, peg: bool = False, stage_norm: bool = False,
                 drop_path_rate: float = 0.1, **kwargs) -> None:
        arch = self.resolve_arch(arch)
        super().__init__(**pyramid(arch), **kwargs)
        if arch['local_embed'] not in EMBEDDINGS:
            raise ValueError(f"arch: local_embed must be one of {sorted(EMBEDDINGS)}, got {arch['local_embed']!r}")
        if out_tokens not in ('local', 'regional'):
            raise ValueError(f"out_tokens must be 'local' or 'regional', got {out_tokens!r}")
        self.out_tokens = out_tokens
        self.window_sizes = (window_size, ) * self.num_stages if isinstance(window_size, int) else tuple(window_size)
        if len(self.window_sizes) != self.num_stages or min(self.window_sizes) < 1:
            raise ValueError(
                f'window_size must be one size of at least 1 or {self.num_stages} of them, got {window_size}')

        self.local_embed = EMBEDDINGS[arch['local_embed']](self.in_channels, self.channels[0])
        self.min_size = 2 if arch['local_embed'] == '1conv' else 1  # pixels of a first token
        self.region_embed = RegionEmbed(self.in_channels, self.channels[0], PATCH_SIZE * self.window_sizes[0])
        drop_paths = drop_path_schedule(drop_path_rate, arch['depths'])
        self.stages = ModuleList(
            Stage(self.channels[i], arch['num_heads'][i], self.window_sizes[i], arch['mlp_ratio'], peg, drop_paths[i],
                  project=i > 0) for i in range(self.num_stages))
        if stage_norm:
            self.add_output_norms(MAP_NORM_EPS, range(self.num_stages))
        self.init_layers()
        for module in self.modules():
            if isinstance(module, Attention):
                resize_on_load(module, 'rel_pos', resize_table_of_heads, dims=[1])
        resize_on_load(self.region_embed.conv, 'weight', resize_kernel, dims=[2, 3])
        self._register_load_state_dict_pre_hook(self._match_checkpoint)
        self.freeze()

    def init_layers(self) -> None:
        self.apply(init_linear)

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        return (raw for raw, _ in self.iter_outputs(images))

    def iter_outputs(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields two maps of each stage, the raw local one and, as the next stage takes it, that of ``out_tokens``."""
        local, regional = self.local_embed(images), self.region_embed(images)
        for i, stage in enumerate(self.stages):
            raw, regional = stage(local, regional, self.run_block)
            local = self.output_norm(i)(raw)
            yield raw, regional if self.out_tokens == 'regional' else local

    def check_images(self, images: Tensor) -> None:
        """Checks that the windows of every stage cover all local tokens."""
        super().check_images(images)
        reach = [self.strides[i] * size for i, size in enumerate(self.window_sizes) if size < self.window_sizes[0]]
        if not reach:
            return
        largest = min(reach) + self.min_size - 1
        if max(images.shape[2:]) > largest:
            raise ValueError(
                f'images of {images.shape[2]} x {images.shape[3]} pixels are more than windows of {self.window_sizes} '
                f'can cover, which is {largest} x {largest}; window_size={max(self.window_sizes)} covers any size')

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns the blocks as layers, the first with projection and PEG, the last with the norm of the stage.

        The norm of the last stage belongs to no layer, as other output norms.
        """
        module = self.stages[stage]
        first, *others = module.blocks
        layers = [list(filter(None, [module.projection, first, module.peg])), *([block] for block in others)]
        if stage < self.num_stages - 1:
            layers[-1].append(self.output_norm(stage))
        return layers

    def _match_checkpoint(self, state_dict: dict, prefix: str, *args) -> None:
        """Makes checkpoints of classifiers loadable if PEG or stage norms are new."""
        own = {f'{prefix}{name}': parameter.detach() for name, parameter in self.named_parameters()}
        if not any(key.endswith('.attn.rel_pos') for key in own.keys() & state_dict.keys()):
            return  # no checkpoint of this network: load_state_dict reports the missing keys
        for kind, pattern in dict(peg=r'.*\.peg\.weight', stage_norm=r'norm\d\.\w+').items():
            keys = [key for key in own if re.fullmatch(pattern, key.removeprefix(prefix))]
            if keys and not state_dict.keys() & set(keys):
                print_log(f'RegionViT: {kind} is not in the checkpoint, keeps its initial values', logger='current')
                state_dict.update({key: own[key] for key in keys})
