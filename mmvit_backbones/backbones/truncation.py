"""Removes what the first maps of a network don't need."""
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from .base import Backbone


def prune_intermediate_layers(backbone: 'Backbone', number: int, prune_norm: bool = False) -> None:
    """Removes the stages after the first ``number``, or such blocks of a plain network, as timm's method of this name.

    All parameters that remain affect the last map. ``channels``, ``strides``, ``out_indices`` and ``frozen_stages``
    change as well, and the state dict has no keys of removed stages and norms. If none of ``out_indices`` remains, the
    map of the last stage is returned, without output norm.

    Args:
        backbone (Backbone): The network.
        number (int): Number of stages, or of blocks of a plain network, to keep.
        prune_norm (bool): Whether to remove the output norm of the last stage, too. Defaults to False.

    Raises:
        ValueError: If ``number`` is not from 1 to the number of stages or blocks.
    """
    is_plain = backbone.plain_blocks is not None
    levels = backbone.stage_layers(0) if is_plain else [
        backbone.stage_modules(stage) for stage in range(backbone.num_stages)]
    if not 1 <= number <= len(levels):
        raise ValueError(f'number must be from 1 to {len(levels)}, got {number}')
    remove_modules(backbone, {module for level in levels[number:] for module in level})
    if not is_plain:
        remove_modules(backbone, set(backbone.links_after(number - 1)), nn.Identity())
        backbone.num_stages = number
        backbone.frozen_stages = min(backbone.frozen_stages, number)
        backbone.channels, backbone.strides = backbone.channels[:number], backbone.strides[:number]
        backbone.out_indices = tuple(stage for stage in backbone.out_indices if stage < number) or (number - 1, )
    kept = tuple(stage for stage in backbone.normed_stages if stage < backbone.num_stages - prune_norm)
    for stage in {*backbone.normed_stages} - {*kept}:
        delattr(backbone, f'norm{stage}')
    backbone.normed_stages = kept


def remove_modules(network: nn.Module, removed: set[nn.Module], replacement: nn.Module | None = None) -> None:
    for name, module in reversed(list(network.named_modules())):  # the last entries of lists first
        if module in removed:
            parent, _, own = name.rpartition('.')
            if isinstance(container := network.get_submodule(parent), nn.ModuleList):
                del container[int(own)]
            else:
                setattr(container, own, replacement)
