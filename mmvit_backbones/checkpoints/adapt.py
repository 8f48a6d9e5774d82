"""Weights for another number of classes or of image channels than they were trained with."""
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from .files import CheckpointError

RGB = 3


def adapt(weights: Mapping[str, Tensor], model: nn.Module, source: str, new_head: bool = False) -> dict[str, Tensor]:
    """Weights of the checkpoint ``source`` that fit a model in the channels of its images and, with ``new_head``, have
    the model's own head where theirs is of another shape.

    Raises:
        CheckpointError: If the head is for another number of classes, without ``new_head``.
    """
    own = model.state_dict()
    adapted, stem = dict(weights), []
    for name, weight in weights.items():
        if name in own and is_stem(weight, own[name]):
            adapted[name] = adapt_channels(weight, own[name].shape[1])
            stem.append(name)
    if stem:
        print_log(f'{source}: {", ".join(stem)} of {RGB} channels became those of {own[stem[0]].shape[1]}',
                  logger='current')
    head = {name: weight for name, weight in own.items() if name.startswith('head.')}
    others = [name for name, weight in head.items() if name in weights and weights[name].shape != weight.shape]
    if others and not new_head:
        raise CheckpointError(f'checkpoint {source} is for {len(weights[others[0]])} classes, the model for '
                              f'{len(head[others[0]])}: get_model(..., num_classes={len(head[others[0]])}) takes the '
                              'backbone alone and gives it a new head')
    if others:
        print_log(f'{source}: its head of another number of classes was left out, the new one is not trained',
                  logger='current')
        adapted = {name: weight for name, weight in adapted.items() if not name.startswith('head.')} | head
    return adapted


def is_stem(weight: Tensor, own: Tensor) -> bool:
    """Whether a convolution's weight differs from the model's in that it is for RGB, and in nothing else."""
    if weight.ndim != 4 or own.ndim != 4 or weight.shape[1] != RGB or own.shape[1] == RGB:
        return False
    return weight.shape[0] == own.shape[0] and weight.shape[2:] == own.shape[2:]


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """``(O, 3, h, w)`` to ``(O, channels, h, w)``: summed for one channel, else repeated, with the same total."""
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return repeated * (RGB / channels)
