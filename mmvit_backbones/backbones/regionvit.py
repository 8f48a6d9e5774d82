"""RegionViT: local tokens attend within windows, and regional tokens, one per window, connect the windows.

RegionViT: Regional-to-Local Attention for Vision Transformers (Chen, Panda and Fan, ICLR 2022, arXiv 2106.02689).
"""
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import DropPath, Mlp, drop_path_schedule, init_linear, trunc_normal_
from ..layers.position_bias import resize_table_of_heads
from ..layers.resize import resize_on_load
from ..ops.resizing import interpolate
from ..ops.sizes import is_positive
from ..ops.window import crop, pad, position_bias, relative_position_index, windows_exceed
from ..utils import versions
from .arch import AttentionPyramidArch, resolve_arch
from .base import Backbone, CommonArguments

PATCH_SIZE = 4
NORM_EPS = 1e-6  # of LayerNorms inside blocks
MAP_NORM_EPS = 1e-5  # of LayerNorms between convolutions and after stages


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Applies a convolution to a channels-last map."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ThreeConvEmbed(nn.Module):
    """Embeds images as local tokens ``(B, ceil(H/4), ceil(W/4), C)`` by three 3 x 3 convolutions."""

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
    """Embeds images as local tokens ``(B, (H+2) // 4, (W+2) // 4, C)`` by one 8 x 8 convolution."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 8, stride=PATCH_SIZE, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images).permute(0, 2, 3, 1)


EMBEDDINGS = {'3conv': ThreeConvEmbed, '1conv': OneConvEmbed}


class RegionEmbed(nn.Module):
    """Embeds images as regional tokens ``(B, Hr, Wr, C)``.

    A regional token stands for a square with a side of ``region_size`` pixels.
    """

    def __init__(self, in_channels: int, channels: int, region_size: int) -> None:
        super().__init__()
        self.region_size = region_size
        self.conv = nn.Conv2d(in_channels, channels, region_size, stride=region_size)

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = region_padding(images.shape[2], images.shape[3], self.region_size)
        images = F.pad(images, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return self.conv(images).permute(0, 2, 3, 1)


def region_padding(height: int, width: int, region_size: int) -> tuple[int, int]:
    """Returns the total number of rows and columns to pad an image with, as in the authors' code.

    If height or width is not a multiple of ``region_size``, both are padded, and a side that is already a multiple
    gains a whole region. With regions of 28 pixels, an image of 28 x 56 pixels is not padded, and an image of 28 x 50
    pixels gains 28 rows and 6 columns.
    """
    remaining_rows, remaining_columns = height % region_size, width % region_size
    is_padded = is_positive(remaining_rows + remaining_columns)
    return is_padded * region_size - remaining_rows, is_padded * region_size - remaining_columns


def region_partition(local: Tensor, grid: Sequence[int], window_size: int) -> Tensor:
    """Splits a map ``(B, H, W, C)``, zero-padded at the right and bottom, into windows ``(B, windows, w * w, C)``."""
    bottom, right = (count * window_size - length for count, length in zip(grid, local.shape[1:3]))
    local = pad(local, bottom=bottom, right=right)
    local = local.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size))
    return local.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def region_reverse(windows: Tensor, grid: Sequence[int], size: Sequence[int]) -> Tensor:
    """Merges the windows of :func:`region_partition` into a map of ``size`` (rows, columns)."""
    side = math.isqrt(windows.shape[2])
    local = windows.unflatten(2, (side, side)).unflatten(1, grid).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return crop(local, *size)


def join_tokens(regional: Tensor, local: Tensor) -> Tensor:
    """Puts regional tokens ``(B, windows, C)`` before the local tokens ``(B, windows, w * w, C)`` of their windows."""
    return torch.cat([regional[:, :, None], local], dim=2)


def split_tokens(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the regional and the local tokens that :func:`join_tokens` has joined, as views."""
    return x[:, :, 0], x[:, :, 1:]


class WindowMask(NamedTuple):
    """Attention mask of windows, the same for all images of a batch; the first token of a window is the regional token.

    ``has_keys`` ``(windows, 1, N, 1)`` is 1 for queries with at least one allowed key, and 0 for the others. ``mask``
    ``(windows, 1, N, N)`` is -inf at the keys that queries must not attend to, and 0 at allowed keys. For queries
    without any allowed key, ``mask`` is 0 at all keys.
    """
    has_keys: Tensor
    mask: Tensor


def window_mask(size: Sequence[int], grid: Sequence[int], window_size: int, like: Tensor) -> WindowMask:
    """Returns the mask for the windows of a map of ``size`` (rows, columns), with the dtype and device of ``like``."""
    (height, width), (window_rows, window_columns) = size, grid
    rows = inside_map(height, window_rows, window_size, like)
    columns = inside_map(width, window_columns, window_size, like)
    inside = torch.stack(torch.broadcast_tensors(rows[:, None], columns), dim=-1).to(like.dtype)[None]
    inside = region_partition(inside, grid, window_size)[0]
    inside = F.pad(inside, (0, 0, 1, 0), value=1.)  # adds the regional token: (windows, N, 2)
    allowed = allowed_pairs(inside)[:, None]
    has_keys = allowed.any(-1, keepdim=True)
    mask = torch.zeros_like(allowed, dtype=like.dtype).masked_fill(torch.logical_and(has_keys, ~allowed), -torch.inf)
    return WindowMask(has_keys.to(like.dtype), mask)


def allowed_pairs(inside: Tensor) -> Tensor:
    """Returns a boolean mask ``(windows, N, N)`` of the pairs of tokens that attend to each other.

    ``inside`` ``(windows, N, 2)`` contains two numbers per token: 1 or 0 for a row inside or outside the map, and the
    same for the column. Two tokens attend to each other if both rows and both columns are inside. In the last window,
    at the lower right, it is enough that both rows or both columns are inside, as in the authors' code. For example,
    tokens with the numbers (1, 1) and (1, 0) attend to each other in the last window only.
    """
    num_axes = inside @ inside.transpose(1, 2)  # number of axes along which both tokens are inside, from 0 to 2
    window = torch.arange(inside.shape[0], device=inside.device)[:, None, None]
    is_last = window == inside.shape[0] - 1
    return num_axes >= torch.where(is_last, 1, 2)


def inside_map(length: int, num_windows: int, window_size: int, like: Tensor) -> Tensor:
    """Returns a boolean mask ``(num_windows * window_size, )`` of the positions along an axis that are inside the map.

    As in the authors' code, all positions before the last window count as inside, even beyond ``length``. With 3
    windows of 2 positions, only position 5 is outside for ``length`` 5, and positions 4 and 5 for ``length`` 1.
    """
    position = torch.arange(num_windows * window_size, device=like.device)
    return torch.logical_or(position < length, position < (num_windows - 1) * window_size)


def resize_kernel(weight: Tensor, shape: torch.Size) -> Tensor:
    """Resizes a convolution kernel bicubically for another region size."""
    return interpolate(weight, shape[2:], 'bicubic')


class RegionViTAttention(nn.Module):
    """Attention among regional tokens, or within windows with a relative position bias between local tokens."""

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

    def position_bias(self, index: Tensor) -> Tensor:
        """Returns the bias ``(heads, N, N)`` with ``N = 1 + window_size ** 2``; 0 for pairs with the regional token.

        Paper: arXiv 2106.02689, relative position bias.
        """
        return F.pad(position_bias(self.rel_pos, index), (1, 0, 1, 0))

    def forward(self, x: Tensor, index: Tensor | None = None, mask: WindowMask | None = None) -> Tensor:
        """Keeps the shape ``(B, windows, N, C)`` of windows, or ``(B, N, C)`` of regional tokens.

        With the relative position ``index``, each window starts with its regional token, and the position bias and
        ``mask`` are applied. Without, all regional tokens of an image attend to each other, without bias and mask.
        """
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2) for part in self.qkv(x).chunk(3, dim=-1))
        shape = q.shape  # (B, windows, heads, N, C / heads), or without windows
        attn_mask = None
        if index is not None:
            bias = self.position_bias(index)
            if mask is not None:  # queries without any allowed key get zero logits, and average all values
                q, bias = q * mask.has_keys, bias * mask.has_keys + mask.mask
            attn_mask = bias.expand(x.shape[1], -1, -1, -1).flatten(0, 1)[None].to(q.dtype)
        q, k, v = (y.flatten(1, -3) for y in (q, k, v))  # treats windows as heads, because all images share a mask
        x = F.scaled_dot_product_attention(q, k, v, attn_mask)  # softmax(q k^T / sqrt(d) + attn_mask) v
        return self.proj(x.view(shape).transpose(-3, -2).flatten(-2))


class RegionViTBlock(nn.Module):
    """Attention among regional tokens, then within each window and its regional token, then an MLP.

    Paper: arXiv 2106.02689, R2L attention.

    Stochastic depth drops the first branch per image, and the other two branches per window.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, mlp_ratio: float, drop_path: float,
                 regional_attention: bool = True) -> None:
        super().__init__()
        self.norm0 = nn.LayerNorm(channels, eps=NORM_EPS) if regional_attention else None
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = RegionViTAttention(channels, num_heads, window_size)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, index: Tensor, mask: WindowMask | None) -> Tensor:
        """Keeps the shape ``(B, windows, 1 + w * w, C)`` of the tokens of windows with side ``w``.

        Args:
            x (Tensor): Windows, each a regional token and its local tokens.
            index (Tensor): Relative positions ``(w * w, w * w)`` of the tokens of a window, rows of the bias table.
            mask (WindowMask | None): Mask for windows that exceed the map; None if none does.
        """
        if self.norm0 is not None:
            regional, local = split_tokens(x)
            x = join_tokens(self.drop_path(regional, self.attn(self.norm0(regional))), local)
        x = self.drop_path(x.flatten(0, 1), self.attn(self.norm1(x), index=index, mask=mask).flatten(0, 1)).view_as(x)
        return self.drop_path(x.flatten(0, 1), self.mlp(self.norm2(x)).flatten(0, 1)).view_as(x)


class Projection(nn.Module):
    """LayerNorm, GELU and a depth-wise convolution that halves the sides of a map and doubles its channels.

    Local and regional maps share the weights.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=MAP_NORM_EPS)
        self.conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.conv, versions.gelu(self.norm(x)))


class RegionViTStage(nn.Module):
    """Projects the local and regional maps if ``project``, then applies blocks on a grid of windows.

    If ``peg``, a positional encoding generator (Chu et al., arXiv 2102.10882) follows the first block: it adds a
    depth-wise convolution to each map.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, mlp_ratio: float, peg: bool,
                 drop_paths: Sequence[float], project: bool, regional_attention: bool = True) -> None:
        super().__init__()
        self.window_size = window_size
        self.projection = Projection(channels // 2) if project else nn.Identity()
        self.blocks: Any = nn.ModuleList(
            RegionViTBlock(channels, num_heads, window_size, mlp_ratio, rate, regional_attention)
            for rate in drop_paths)
        self.peg = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False) if peg else None
        self.is_always_masked = False  # also if no window exceeds the map, so that compiled blocks need one graph less

    def forward(self, local: Tensor, regional: Tensor, index: Tensor, run_block: Callable) -> tuple[Tensor, Tensor]:
        """Returns the local map ``(B, H, W, C)`` and the regional map ``(B, Hr, Wr, C)`` after the last block.

        ``index`` is the relative position index of the windows, and ``run_block`` is :meth:`Backbone.run_block`.
        """
        local, regional = self.projection(local), self.projection(regional)
        size, grid = local.shape[1:3], regional.shape[1:3]
        exceeds = self.is_always_masked or windows_exceed(size, grid, self.window_size)
        mask = window_mask(size, grid, self.window_size, like=local) if exceeds else None
        x = self.windows(local, regional)
        for i, block in enumerate(self.blocks):
            x = run_block(block, x, index, mask)
            if i == 0 and self.peg is not None:
                local, regional = (y + convolve(self.peg, y) for y in self.maps(x, size, grid))
                x = self.windows(local, regional)
        return self.maps(x, size, grid)

    def windows(self, local: Tensor, regional: Tensor) -> Tensor:
        """Returns the tokens ``(B, windows, 1 + w * w, C)`` of the windows of both maps."""
        return join_tokens(regional.flatten(1, 2), region_partition(local, regional.shape[1:3], self.window_size))

    def maps(self, x: Tensor, size: Sequence[int], grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Returns the local map of ``size`` and the regional map of size ``grid`` from the tokens of their windows."""
        regional, local = split_tokens(x)
        return region_reverse(local, grid, size), regional.unflatten(1, grid)


@dataclass(frozen=True, kw_only=True)
class RegionViTArch(AttentionPyramidArch):
    """Settings of :class:`RegionViT`.

    Attributes:
        local_embed (str): Embedding of local tokens: ``'3conv'`` or ``'1conv'``.
        embed_dims (int): Channels of the first stage; doubled from stage to stage.
        depths (tuple[int, ...]): Number of blocks of each stage.
        num_heads (tuple[int, ...]): Number of attention heads of each stage.
        mlp_ratio (float): Hidden channels of the MLPs, relative to the channels of the stage.
    """
    local_embed: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.local_embed not in EMBEDDINGS:
            raise ValueError(f'arch: local_embed must be one of {sorted(EMBEDDINGS)}, got {self.local_embed!r}')


@MODELS.register_module()
class RegionViT(Backbone):
    """RegionViT and RegionViT+, which alternate attention among regional tokens and attention within windows.

    Images must have at least 1 x 1 pixel (2 x 2 with ``local_embed='1conv'``). There is no upper limit unless a stage
    has smaller windows than the first stage: with ``window_size=(14, 14, 14, 7)``, images with a side of more than 224
    pixels (225 with ``'1conv'``) raise ``ValueError``. With ``'1conv'``, a side of n pixels gives (n + 2) // 4 local
    tokens.

    Quirks kept for checkpoint compatibility:

    - In the table of position biases, displacements are key minus query and wrap around: displacement 0 is at index
      ``window_size // 2`` of both axes.
    - In the lower right window, tokens attend to some of the padding: the masks of rows and columns are combined by
      "or" instead of "and".
    - A query without any allowed key takes the mean of all values. Blocks update padding tokens, too.
    - If only one side of an image is a multiple of the region size, that side is padded by a whole region.
    - Local and regional maps share the projection and the position encoding. Both attention steps of a block share
      their weights.
    - With ``stage_norm``, the next stage receives the normalized local map, but the regional map without a norm.
    - Published detectors take RGB images, but normalize them with the mean ``[103.53, 116.28, 123.675]`` and the
      standard deviation ``[57.375, 57.12, 58.395]``, which are in BGR order.

    Departures from the authors' code:

    - With smaller windows in the last stage, images of more than 224 pixels are an error; the authors' code drops
      tokens.
    - Windows, PEG and stage norms can be combined in all variants.

    Paper: arXiv 2106.02689, figure 2.
    Paper: arXiv 2106.02689, variants.

    Args:
        arch (str | RegionViTArch | dict): ``'tiny'``, ``'small'``, ``'medium'``, ``'base'``, a
            :class:`RegionViTArch`, or a dict of its fields.
        out_tokens (str): ``'local'`` returns the local maps, with strides 4, 8, 16 and 32. ``'regional'`` returns the
            regional maps, which classifiers use; their strides are these times the window size of the first stage.
        window_size (int | Sequence[int]): Side of the windows in tokens, one number for all stages or one per stage.
            The side of a region in pixels is four times the window size of the first stage. Weights for other window
            sizes are resized on load.
        peg (bool): Whether to use a positional encoding generator in every stage.
        stage_norm (bool): Whether to add a LayerNorm after every stage, ``norm0`` to ``norm3``. Later stages receive
            the normalized local map.
        regional_attention (bool): Whether regional tokens attend to each other. False gives the ablation in which the
            windows of a stage exchange no information.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import RegionViT
        >>> [tuple(x.shape) for x in RegionViT('tiny', window_size=14)(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    block_types = (RegionViTBlock, )
    no_decay = ('rel_pos', )
    optional = (r'.*\.peg\.weight', r'norm\d\.\w+')  # detectors add position encodings and stage norms
    arch_zoo: dict[str, RegionViTArch] = {
        'tiny': RegionViTArch(
            local_embed='3conv', embed_dims=64, depths=(2, 2, 8, 2), num_heads=(2, 4, 8, 16), mlp_ratio=4),
        'small': RegionViTArch(
            local_embed='3conv', embed_dims=96, depths=(2, 2, 8, 2), num_heads=(3, 6, 12, 24), mlp_ratio=4),
        'medium': RegionViTArch(
            local_embed='1conv', embed_dims=96, depths=(2, 2, 14, 2), num_heads=(3, 6, 12, 24), mlp_ratio=4),
        'base': RegionViTArch(
            local_embed='1conv', embed_dims=128, depths=(2, 2, 14, 2), num_heads=(4, 8, 16, 32), mlp_ratio=4),
    }
    stem_names = ('local_embed', 'region_embed')

    def __init__(self, arch: str | RegionViTArch | dict = 'tiny', *,
                 out_tokens: Literal['local', 'regional'] = 'local', window_size: int | Sequence[int] = 7,
                 peg: bool = False, stage_norm: bool = False, regional_attention: bool = True,
                 drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        arch = resolve_arch(arch, self.arch_zoo)
        super().__init__(channels=arch.channels, strides=arch.strides, **common)
        if out_tokens not in ('local', 'regional'):
            raise ValueError(f"out_tokens must be 'local' or 'regional', got {out_tokens!r}")
        self.out_tokens = out_tokens
        self.window_sizes = (window_size, ) * self.num_stages if isinstance(window_size, int) else tuple(window_size)
        if len(self.window_sizes) != self.num_stages or min(self.window_sizes) < 1:
            raise ValueError(
                f'window_size must be a positive integer or {self.num_stages} positive integers, got {window_size}')

        self.local_embed = EMBEDDINGS[arch.local_embed](self.in_channels, self.channels[0])
        first_conv = 'local_embed.conv' if arch.local_embed == '1conv' else 'local_embed.conv1'
        self.image_convs = first_conv, 'region_embed.conv'
        self.min_size = 2 if arch.local_embed == '1conv' else 1  # smallest image with a local token
        self.region_embed = RegionEmbed(self.in_channels, self.channels[0], PATCH_SIZE * self.window_sizes[0])
        drop_paths = drop_path_schedule(drop_path_rate, arch.depths)
        self.stages: Any = nn.ModuleList(
            RegionViTStage(self.channels[i], arch.num_heads[i], self.window_sizes[i], arch.mlp_ratio, peg,
                           drop_paths[i], project=i > 0, regional_attention=regional_attention)
            for i in range(self.num_stages))
        if stage_norm:
            used = self.num_stages - (out_tokens == 'regional')  # nothing follows the last local map
            self.add_output_norms(MAP_NORM_EPS, range(used))
        self.init_layers()
        self.freeze()
        for module in self.modules():
            if isinstance(module, RegionViTAttention):
                resize_on_load(module, 'rel_pos', resize_table_of_heads, dims=[1])
        resize_on_load(self.region_embed.conv, 'weight', resize_kernel, dims=[2, 3])

    def init_layers(self) -> None:
        self.apply(init_linear)

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the local map of each stage before its norm, and the map that ``out_tokens`` selects.

        The second map is also an input of the next stage. It is either the local map after the stage norm, or the
        regional map.
        """
        local, regional = self.local_embed(images), self.region_embed(images)
        indices = {size: relative_position_index(size, local.device, wrapped=True) for size in set(self.window_sizes)}
        for i, stage in enumerate(self.stages):
            pre_norm, regional = stage(local, regional, indices[stage.window_size], self.run_block)
            local = self.output_norm(i)(pre_norm)
            yield pre_norm, regional if self.out_tokens == 'regional' else local

    def compile_blocks(self, dynamic: bool, backend: Any = 'inductor') -> None:
        super().compile_blocks(dynamic, backend)
        for stage in self.stages:
            stage.is_always_masked = dynamic

    def run_blocks_eagerly(self) -> None:
        super().run_blocks_eagerly()
        for stage in self.stages:
            stage.is_always_masked = False

    @property
    def output_strides(self) -> tuple[int, ...]:
        factor = self.window_sizes[0] if self.out_tokens == 'regional' else 1
        return tuple(factor * stride for stride in self.strides)

    def check_images(self, images: Tensor) -> None:
        """Validates the images; the windows of every stage must cover all local tokens."""
        super().check_images(images)
        limits = [stride * size for stride, size in zip(self.strides, self.window_sizes) if size < self.window_sizes[0]]
        if not limits:
            return
        largest = min(limits) + self.min_size - 1
        if max(images.shape[2:]) > largest:
            raise ValueError(
                f'images must be at most {largest} x {largest} pixels with window_size={self.window_sizes}, got '
                f'{images.shape[2]} x {images.shape[3]} (height x width); use window_size={max(self.window_sizes)} for '
                'any size')

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns one layer per block; the first includes projection and PEG, the last the stage norm.

        The norm of the last stage is an output norm, and is not included.
        """
        module = self.stages[stage]
        layers: list[list[nn.Module]] = [[block] for block in module.blocks]
        layers[0].insert(0, module.projection)
        if module.peg is not None:
            layers[0].append(module.peg)
        if stage < self.num_stages - 1:
            layers[-1].append(self.output_norm(stage))
        return layers

    def stage_output(self, stage: int) -> nn.Module:
        return self.stages[stage]  # its blocks return windows
