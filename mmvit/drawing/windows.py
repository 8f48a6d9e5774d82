"""Varied-size windows in pixels, and frames of them; docs/vsa.md draws a panel per stage, a colored frame per head."""
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.layers import VariedSizeWindowAttention

# The windows of a stage in pixels: side of the default windows, padding (top, left), and the predicted windows as a
# tensor (heads, 4, nh, nw) of center x, center y, width and height.
Frames = tuple[int, tuple[int, int], Tensor]


@torch.no_grad()
def predict_frames(backbone: Backbone, images: Tensor) -> list[Frames]:
    """Returns the windows of the last attention layer of each stage, in pixels of a normalized image (1, 3, H, W)."""
    layers = [last_attention(backbone.stage_modules(stage)) for stage in range(backbone.num_stages)]
    predictions: dict[nn.Module, tuple[Tensor, Tensor, tuple[int, int]]] = {}

    def predict(layer: VariedSizeWindowAttention, inputs: tuple[Tensor]) -> None:
        predictions[layer] = layer.predict_windows(*inputs, layer.position_bias().dtype)

    hooks = [layer.register_forward_pre_hook(predict) for layer in layers]
    backbone.forward_stages(images)
    for hook in hooks:
        hook.remove()
    return [to_pixels(*predictions[layer], layer.window_size, stride)
            for layer, stride in zip(layers, backbone.strides)]


def last_attention(modules: list[nn.Module]) -> VariedSizeWindowAttention:
    layers = [m for module in modules for m in module.modules() if isinstance(m, VariedSizeWindowAttention)]
    if not layers:
        raise UsageError('the network has no varied-size windows; use vitaev2_vsa_* or swin_vsa_*')
    return layers[-1]


def to_pixels(scale: Tensor, offset: Tensor, pad: tuple[int, int], window_size: int, stride: int) -> Frames:
    """Converts the predicted windows of a stage from tokens to pixels; ``stride`` is the side of a token in pixels."""
    nh, nw = scale.shape[3:]
    x = (torch.arange(nw) + 0.5) * window_size - pad[1] + offset[0, :, 0]
    y = (torch.arange(nh)[:, None] + 0.5) * window_size - pad[0] + offset[0, :, 1]
    width, height = ((1 + scale[0]).abs() * window_size).unbind(1)
    side, (top, left) = window_size * stride, pad
    return side, (top * stride, left * stride), stride * torch.stack([x, y, width, height], 1)


def draw_frames(axes: Axes, query: tuple[int, int], side: int, pad: tuple[int, int], frames: Tensor) -> None:
    """Draws the default window that contains a query, and the windows that the heads predict from it."""
    x, y = query
    row, column = (y + pad[0]) // side, (x + pad[1]) // side
    own = [(column + 0.5) * side - pad[1], (row + 0.5) * side - pad[0], side, side]
    for color, thickness in (('black', 4), ('white', 2)):  # visible on any background
        add_frame(axes, own, edgecolor=color, linewidth=thickness)
        axes.plot(x, y, '+', color=color, markersize=6 + thickness, markeredgewidth=thickness)
    colors = matplotlib.colormaps['hsv'](np.linspace(0, 1, len(frames), endpoint=False))
    for frame, color in zip(frames[:, :, row, column].tolist(), colors):
        add_frame(axes, frame, edgecolor=color, linewidth=1.8)


def add_frame(axes: Axes, frame: list[float], **style) -> None:
    x, y, width, height = frame
    axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, fill=False, **style))
