"""Lean parts of the refiner (Refiner, Zhou et al., 2021, arXiv 2106.03714, section 4.2).

``BN(conv3(ReLU6(BN(conv2(ReLU6(BN(conv1(A)))))))) + A`` on maps ``(B, num_heads, N, N)``, with three times the heads
inside.
"""
import torch
import torch.nn.functional as F
from torch import Tensor


def relu6_(x: Tensor) -> Tensor:
    """``ReLU6(x)``, written over ``x``: it saves its result, which the next convolution saves anyway.

    ``F.relu6(x, inplace=True)`` saves a copy of its input: one more wide map per call.
    """
    if torch.compiler.is_compiling():
        return F.relu6(x)
    return _InPlaceReLU6.apply(x) if torch.is_grad_enabled() and x.requires_grad else x.clamp_(0, 6)


class _InPlaceReLU6(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x.clamp_(0, 6)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return torch.ops.aten.hardtanh_backward(grad, ctx.saved_tensors[0], 0., 6.)


def image_by_image(refiner: torch.nn.Module, attn: Tensor) -> Tensor:
    """``refiner(attn)``; in evaluation on a CPU one image at a time, so that the wide maps stay in its caches.

    Measured with ``refiner_vit_medium``, 224 x 224, batch 4: 30 % off the forward pass of the network.
    """
    if (refiner.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or attn.device.type != 'cpu'
            or len(attn) < 2):
        return refiner(attn)
    return torch.cat([refiner(image) for image in attn.split(1)])


# ---- evaluation in chunks

# Elements that the wide maps may have at a time: what stays in the caches of a CPU.
CHUNK_ELEMENTS = 2**19
MIN_ROWS = 8  # of a chunk: the rows above and below it are computed for two chunks


def fold_refiner(refiner: torch.nn.Module, norm: torch.nn.Module) -> tuple[Tensor, ...]:
    """The refiner's convolutions with their batch norms, and the norm after the refiner, folded in.

    Weight and bias of expansion, depthwise convolution and projection, then the weight of the maps, ``(num_heads, 1)``.
    """
    (scale1, shift1), (scale2, shift2), (scale3, shift3), (scale, shift) = map(
        affine, (refiner.norm1, refiner.norm2, refiner.norm3, norm))
    dtype = refiner.expand.weight.dtype
    folded = (scale1[:, None] * refiner.expand.weight.flatten(1), shift1,
              scale2[:, None, None, None] * refiner.depthwise.weight, shift2,
              (scale * scale3)[:, None] * refiner.project.weight.flatten(1), scale * shift3 + shift, scale[:, None])
    return tuple(x.to(dtype) for x in folded)


def affine(norm: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm with its running statistics, in float64."""
    scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def refined_attention_in_chunks(attn: Tensor, value: Tensor, *weights: Tensor) -> Tensor:
    """``refine(attn) @ value``, of some images or some queries of one image at a time.

    Args:
        attn (Tensor): ``(B, num_heads, N, N)``.
        value (Tensor): ``(B, num_heads, N, d)``.
        weights (Tensor): What :func:`fold_refiner` gives.

    Returns:
        Tensor: ``(B, num_heads, N, d)``.
    """
    num_images, _, num_rows, d = value.shape
    row_size = len(weights[0]) * num_rows
    rows = min(num_rows, max(MIN_ROWS, CHUNK_ELEMENTS // row_size))
    images = max(1, CHUNK_ELEMENTS // (row_size * num_rows))
    if torch.compiler.is_compiling() or images >= num_images:
        return refine(attn, *weights) @ value
    out = value.new_empty(value.shape)
    for image in range(0, num_images, images):
        part = slice(image, image + images)
        for first in range(0, num_rows, rows):
            last = min(first + rows, num_rows)
            top, bottom = max(first - 1, 0), min(last + 1, num_rows)  # what the convolution sees
            refined = refine(attn[part, :, top:bottom], *weights)[:, :, first - top:last - top]
            out[part, :, first:last] = refined @ value[part]
    return out


def refine(attn: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, weight3: Tensor,
           bias3: Tensor, identity: Tensor) -> Tensor:
    """The refiner and the norm after it, on ``(B, num_heads, queries, keys)``."""
    x = mix_channels(attn, weight1, bias1).clamp_(0, 6).unflatten(2, attn.shape[2:])
    x = F.conv2d(x, weight2, bias2, padding=1, groups=len(weight2)).clamp_(0, 6)
    return mix_channels(x, weight3, bias3).addcmul_(attn.flatten(2), identity).unflatten(2, attn.shape[2:])


def mix_channels(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1 x 1 convolution as a plain product: ``(B, C, H, W)`` with ``(D, C)`` and ``(D)`` to ``(B, D, H * W)``."""
    return torch.baddbmm(bias[:, None], weight.expand(x.shape[0], -1, -1), x.flatten(2))
