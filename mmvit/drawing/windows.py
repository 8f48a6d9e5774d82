"""Draws varied-size windows: a panel per stage, a colored frame per head."""
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError
from mmvit_backbones.layers import VariedSizeWindowAttention
from mmvit_backbones.utils.file_access import check_file, check_outputs
from mmvit_backbones.zoo.reading import find_checkpoint

from ..utils.images import read_rgb
from .drawn_networks import drawn_network, pixel_of
from .figures import save_figure, wrapped

MARGIN = 0.1  # around the image, as a fraction of its sides, because windows may extend beyond its border

# The windows of a stage in pixels: side of the default windows, padding (top, left), and the predicted windows as a
# tensor (heads, 4, nh, nw) of center x, center y, width and height.
Frames = tuple[int, tuple[int, int], Tensor]


def draw_windows(image: str, network: str, out: str, *, checkpoint: str | None = None,
                 pretrained: bool | str = False, query: tuple[int, int] | None = None) -> None:
    """Draws varied-size windows: a panel per stage, a colored frame per head.

    Args:
        image (str): Image file.
        network (str): Name of a network.
        out (str): File of the figure.
        checkpoint (str | None): File or URL. Defaults to None: random weights.
        pretrained (bool | str): True for the published weights, or the tag of others. Defaults to False.
        query (tuple[int, int] | None): x and y of the pixel to draw the windows for. Defaults to None: the center of
            the image.

    Raises:
        UsageError: If an argument is invalid, or the network has no varied-size windows.
        CheckpointError: If the weights cannot be read or are for another network.
    """
    check_file(image, 'image')
    check_outputs('out', [out], [image, checkpoint and find_checkpoint(checkpoint)])
    pixels = np.array(read_rgb(image))
    height, width = pixels.shape[:2]
    query = pixel_of(query, width, height)
    backbone, normalize, checkpoint = drawn_network(network, checkpoint, pretrained)
    frames = predict_frames(backbone, normalize(torch.from_numpy(pixels).permute(2, 0, 1)))
    draw(pixels, query, frames, f'{network}, {checkpoint or "random weights"}', out)


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


def draw(image: np.ndarray, query: tuple[int, int], stages: list[Frames], title: str, path: str) -> None:
    height, width = image.shape[:2]
    figure = Figure(figsize=(4 * len(stages), 4 * height / width + 0.9), layout='constrained')
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    for i, (axes, (side, pad, frames)) in enumerate(zip(panels, stages)):
        axes.imshow(image)
        axes.set(xlim=(-MARGIN * width, (1 + MARGIN) * width), ylim=((1 + MARGIN) * height, -MARGIN * height),
                 facecolor='0.3', xticks=[], yticks=[])
        axes.set_title(f'stage {i + 1}, {len(frames)} heads', fontsize=18)
        draw_frames(axes, query, side, pad, frames)
    figure.suptitle(wrapped(title, 25 * len(stages)), fontsize=20)  # of a figure that pages show at half its size
    save_figure(figure, path, dpi=80)


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
