"""Adapts weights to a different number of classes or image channels."""
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import CheckpointError

RGB = 3


def adapt(weights: Mapping[str, Tensor], model: nn.Module, source: str, new_head: bool) -> dict[str, Tensor]:
    """Adapts the weights of the checkpoint ``source`` to the model's numbers of input channels and classes.

    If the number of classes differs and ``new_head`` is True, the model's own head replaces the checkpoint's. A head
    that differs otherwise, as in another network, is not adapted.

    Raises:
        CheckpointError: If the number of classes differs and ``new_head`` is False.
    """
    own = model.state_dict()
    stem = [name for name, weight in weights.items() if name in own and is_stem(weight, own[name])]
    adapted = dict(weights) | {name: adapt_channels(weights[name], own[name].shape[1]) for name in stem}
    if stem:
        print_log(f'{source}: converted {", ".join(stem)} from {RGB} to {own[stem[0]].shape[1]} input channels',
                  logger='current')
    head = {name: weight for name, weight in own.items() if name.startswith('head.')}
    others = [name for name, weight in head.items() if name in weights and weights[name].shape != weight.shape]
    if any(not weights[name].shape or weights[name].shape[1:] != head[name].shape[1:] for name in others):
        return adapted
    if others and not new_head:
        name = others[0]
        theirs, ours = len(weights[name]), len(head[name])
        raise CheckpointError(f'checkpoint {source} has {theirs} classes, but the model has {ours}; use get_model(..., '
                              f'num_classes={ours}) to replace its head with an untrained head')
    if others:
        print_log(f'{source}: the head has a different number of classes and was replaced with an untrained head',
                  logger='current')
        adapted = {name: weight for name, weight in adapted.items() if not name.startswith('head.')} | head
    return adapted


def is_stem(weight: Tensor, own: Tensor) -> bool:
    """Returns whether ``weight`` is of a convolution for RGB images, and ``own`` is for other images."""
    return weight.ndim == own.ndim == 4 and weight.shape[1] == RGB != own.shape[1]


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Converts ``(O, 3, h, w)`` to ``(O, channels, h, w)``: sums the channels, or repeats and rescales them."""
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return repeated * (RGB / channels)
