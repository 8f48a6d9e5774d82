"""Adapts weights to another number of classes or image channels."""
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import CheckpointError

RGB = 3


def adapt(weights: Mapping[str, Tensor], model: nn.Module, source: str, new_head: bool = False) -> dict[str, Tensor]:
    """Adapts the weights of the checkpoint ``source`` to the model's input channels and classes.

    If the number of classes differs, the model keeps its own head with ``new_head``, else CheckpointError is raised.
    """
    own = model.state_dict()
    stem = [name for name, weight in weights.items() if name in own and is_stem(weight, own[name])]
    adapted = dict(weights) | {name: adapt_channels(weights[name], own[name].shape[1]) for name in stem}
    if stem:
        print_log(f'{source}: {", ".join(stem)} converted from {RGB} to {own[stem[0]].shape[1]} channels',
                  logger='current')
    head = {name: weight for name, weight in own.items() if name.startswith('head.')}
    others = [name for name, weight in head.items() if name in weights and weights[name].shape != weight.shape]
    if others and not new_head:
        theirs, ours = len(weights[others[0]]), len(head[others[0]])
        raise CheckpointError(f'checkpoint {source} is for {theirs} classes, the model for {ours}: get_model(..., '
                              f'num_classes={ours}) loads only the backbone and adds a new head')
    if others:
        print_log(f'{source}: the head has another number of classes and was replaced by an untrained one',
                  logger='current')
        adapted = {name: weight for name, weight in adapted.items() if not name.startswith('head.')} | head
    return adapted


def is_stem(weight: Tensor, own: Tensor) -> bool:
    """Returns whether a convolution's weight has RGB input channels and otherwise the model's shape."""
    are_convolutions = weight.ndim == own.ndim == 4
    return are_convolutions and weight.shape[1] == RGB != own.shape[1] and weight[:, 0].shape == own[:, 0].shape


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Converts ``(O, 3, h, w)`` to ``(O, channels, h, w)``: sums for one channel, else repeats with the same total."""
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return repeated * (RGB / channels)
