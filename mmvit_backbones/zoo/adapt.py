"""Weights for another number of classes or of image channels than they were trained with."""
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import CheckpointError

RGB = 3


def adapt(weights: Mapping[str, Tensor], model: nn.Module, source: str, new_head: bool = False) -> dict[str, Tensor]:
    """Weights of the checkpoint ``source`` that fit a model in the channels of its images; where their head is for
    another number of classes, they have the model's own with ``new_head``, else CheckpointError is raised.
    """
    own = model.state_dict()
    stem = [name for name, weight in weights.items() if name in own and is_stem(weight, own[name])]
    adapted = dict(weights) | {name: adapt_channels(weights[name], own[name].shape[1]) for name in stem}
    if stem:
        print_log(f'{source}: {", ".join(stem)} of {RGB} channels became those of {own[stem[0]].shape[1]}',
                  logger='current')
    head = {name: weight for name, weight in own.items() if name.startswith('head.')}
    others = [name for name, weight in head.items() if name in weights and weights[name].shape != weight.shape]
    if others and not new_head:
        theirs, ours = len(weights[others[0]]), len(head[others[0]])
        raise CheckpointError(f'checkpoint {source} is for {theirs} classes, the model for {ours}: get_model(..., '
                              f'num_classes={ours}) takes the backbone alone and gives it a new head')
    if others:
        print_log(f'{source}: its head of another number of classes was left out, the new one is not trained',
                  logger='current')
        adapted = {name: weight for name, weight in adapted.items() if not name.startswith('head.')} | head
    return adapted


def is_stem(weight: Tensor, own: Tensor) -> bool:
    """Whether a convolution's weight differs from the model's in that it is for RGB, and in nothing else."""
    are_convolutions = weight.ndim == own.ndim == 4
    return are_convolutions and weight.shape[1] == RGB != own.shape[1] and weight[:, 0].shape == own[:, 0].shape


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """``(O, 3, h, w)`` to ``(O, channels, h, w)``: summed for one channel, else repeated, with the same total."""
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return repeated * (RGB / channels)
