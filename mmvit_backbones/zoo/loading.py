"""Loads checkpoints of the authors, of this package and of the frameworks into models.

``checkpoints.py`` reads a checkpoint, and ``state_dicts.py`` finds the weights in it and their layout; here follow
conversion, sizes and loading.
"""
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..errors import UnknownKeyError
from ..utils.openmmlab_models import unwrap_model
from .checkpoints import read_checkpoint
from .converters import mvit, swin, vit
from .converters.layout import Layout
from .fitting import OUTPUT_NORM, Part, fit, no_match
from .settings import setting
from .source import Weights
from .state_dicts import OUR_PREFIXES, find_state_dict, strip_prefix
from .variants import OFFICIAL, VARIANTS, find_variant

TASKS = ('classification', 'backbone')
RGB = 3
# A checkpoint may have the keys of several layouts, and then has the one with the most keys.
LAYOUTS = tuple(sorted(dict.fromkeys(variant.family.layout for variant in VARIANTS.values()),
                       key=lambda layout: -len(layout.keys)))
LIBRARY_LAYOUTS = swin.MICROSOFT, swin.TIMM, swin.OPENMMLAB, vit.TIMM, vit.MMPRETRAIN, mvit.TIMM

# ---- checkpoint to model


def load_variant(model: nn.Module, weights: Weights | None, new_head: bool, prefix: str | None = None) -> None:
    """Loads the weights of a published network into a model of it; None changes nothing.

    If ``new_head`` is True and the numbers of classes differ, the model keeps its own head. ``prefix`` is that of the
    names in the checkpoint.

    Raises:
        CheckpointError: If the weights are unavailable, or do not match the model.
    """
    if weights:
        load_checkpoint(model, read_checkpoint(weights.source), weights.source, prefix, new_head)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Loads the checkpoint in ``init_cfg=dict(type='Pretrained', ...)`` into a backbone of this package."""

    def __init__(self, checkpoint: str, prefix: str | None = None) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix

    def __call__(self, backbone: BaseModule) -> None:
        load_checkpoint(backbone, read_checkpoint(self.checkpoint), self.checkpoint, prefix=self.prefix)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedNeck:
    """Loads the layers between the backbone and the last layer of a classifier's checkpoint, if it has some."""

    def __init__(self, checkpoint: str, prefix: str | None = None) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix

    def __call__(self, neck: BaseModule) -> None:
        weights = strip_prefix(_as_state(read_checkpoint(self.checkpoint), self.checkpoint)['state_dict'], 'neck.')
        if weights and not self.prefix:
            load_weights(neck, weights, self.checkpoint)
        else:
            print_log(f'{self.checkpoint}: lacks what follows the backbone, which starts from its initial values',
                      logger='current')


def load_checkpoint(model: nn.Module, checkpoint: Mapping, source: str, prefix: str | None = None,
                    new_head: bool = False) -> None:
    """Loads the weights in a checkpoint of the authors, a framework, an own training loop or this package into a model.

    Args:
        model (nn.Module): A backbone, or a model of OpenMMLab.
        checkpoint (Mapping): Content of the file; see :func:`read_checkpoint`.
        source (str): Name of the checkpoint for messages.
        prefix (str | None): See :func:`find_state_dict`.
        new_head (bool): Whether the model keeps its own head if the numbers of classes differ. Defaults to False.

    Raises:
        CheckpointError: See :func:`find_weights` and :func:`load_weights`.
    """
    weights = find_weights(model, checkpoint, source, prefix)
    load_weights(model, weights, source, 'all but the last layers' if new_head else 'all')


def find_weights(model: nn.Module, checkpoint: Mapping, source: str, prefix: str | None = None) -> dict[str, Tensor]:
    """Returns the weights in a checkpoint that suit a model, under the model's names.

    Weights for RGB images are converted for a model of images with other channels.

    Raises:
        CheckpointError: If the checkpoint is for another network; see :func:`find_state_dict` for ``prefix``.
        UnknownKeyError: If the checkpoint has one of the authors' layouts and another key.
    """
    model = unwrap_model(model)
    own = model.state_dict()
    weights, _ = find_state_dict(checkpoint, layouts_for(model), own.keys(), source, prefix)
    found = next((each for each in OUR_PREFIXES if any(each + name in weights for name in own)), None)
    if found is None:
        raise no_match(model, weights, source)
    weights = strip_prefix(weights, found)
    stem = [name for name, weight in weights.items() if name in own and is_stem(weight, own[name])]
    if stem:
        print_log(f'{source}: converted {", ".join(stem)} from {RGB} to {own[stem[0]].shape[1]} input channels',
                  logger='current')
    return weights | {name: adapt_channels(weights[name], own[name].shape[1]) for name in stem}


def layouts_for(model: nn.Module) -> list[Layout]:
    """Returns the layouts that a model may load: those of the authors, then those of libraries."""
    backbone = type(getattr(model, 'backbone', model)).__name__
    return [*(layout for layout in LAYOUTS if not layout.is_shared or layout.network == backbone),
            *(layout for layout in LIBRARY_LAYOUTS if backbone in layout.backbones)]


# ---- conversion


def convert_state_dict(name: str | None, state_dict: Mapping,
                       task: Literal['classification', 'backbone'] = 'classification') -> dict[str, Tensor]:
    """Converts weights from the authors' layout to this package's.

    Args:
        name (str | None): One of :func:`list_models`; None recognizes the layout by its keys.
        state_dict (Mapping): The authors' state dict, or a training checkpoint that contains it.
        task (str): ``'classification'``, or ``'backbone'`` to return only the weights of the backbone. Defaults to
            ``'classification'``.

    Returns:
        dict[str, Tensor]: State dict for ``get_model(name, task).load_state_dict(..., strict=True)``. With a name, a
        classifier's weights for a backbone get initial output norms for the stages whose norms they lack.

    Raises:
        ValueError: If ``name`` or ``task`` is unknown, or there are several sets of weights.
        KeyError: If there are no weights, a key is unknown, or a value is not a tensor.
    """
    check_task(task)
    layouts = LAYOUTS if name is None else [find_variant(name).family.layout]
    weights, layout = find_state_dict(state_dict, layouts)
    if not any(isinstance(x, Tensor) for x in weights.values()):
        raise UnknownKeyError('the checkpoint contains no weights')
    if layout is None:
        if name is None:
            keys = ', '.join(list(weights)[:2])
            raise UnknownKeyError(f'not a published checkpoint of any network; its keys are {keys}, ...')
        weights = layouts[0].convert(weights)  # which names the key that it does not know
    if task == 'backbone':
        weights = strip_prefix(weights, 'backbone.')
    if task == 'backbone' and name is not None:
        with torch.device('meta'):
            backbone = MODELS.build(setting(find_variant(name)).backbone)
        for stage in backbone.normed_stages:
            backbone.output_norm(stage).to_empty(device='cpu').reset_parameters()
        norms = {key: x.detach() for key, x in backbone.named_parameters() if re.fullmatch(OUTPUT_NORM, key)}
        weights = {**norms, **weights}
    return weights


def check_task(task: str) -> None:
    if task not in TASKS:
        raise ValueError(f'task must be one of {TASKS}, got {task!r}')


# ---- sizes


def is_stem(weight: Tensor, own: Tensor) -> bool:
    """Returns whether ``weight`` is of a convolution for RGB images, and ``own`` is for other images."""
    return isinstance(weight, Tensor) and weight.ndim == own.ndim == 4 and weight.shape[1] == RGB != own.shape[1]


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Converts ``(O, 3, h, w)`` to ``(O, channels, h, w)``: sums the channels, or repeats and rescales them."""
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return repeated * (RGB / channels)


# ---- loading


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str, part: Part = 'all') -> None:
    """Loads a state dict of the checkpoint ``source`` into a model, which may be inside wrappers; see :func:`fit`."""
    new = fit(model, weights, part, source).new
    unwrap_model(model).load_state_dict({name: x for name, x in weights.items() if name not in new}, strict=False)


# ---- for MMEngine


def read_state(filename: str, map_location: str | None = None) -> dict:
    """Reads a checkpoint for any model: its weights, converted from the authors' layout, under ``'state_dict'``.

    The state of a training with MMEngine is kept. The layout that other networks share is converted only by
    :func:`find_weights`, which knows the model.
    """
    return _as_state(read_checkpoint(filename, map_location), filename)


def _as_state(checkpoint: Mapping, source: str) -> dict:
    weights, layout = find_state_dict(checkpoint, [layout for layout in LAYOUTS if not layout.is_shared], (), source)
    if layout or 'state_dict' not in checkpoint or 'meta' not in checkpoint:
        return dict(state_dict=weights)
    meta = {key: value for key, value in checkpoint['meta'].items() if key != 'config'}  # which MMEngine would run
    return {**checkpoint, 'state_dict': weights, 'meta': meta}


CheckpointLoader.register_scheme(OFFICIAL, read_state, force=True)
# MMEngine's own, which may execute code in checkpoints, by prefix.
LOADERS = {prefix: loader for prefix, loader in CheckpointLoader._schemes.items()
           if loader.__module__ == CheckpointLoader.__module__}
_depth = 0  # of blocks of safe_loading that are open


@contextmanager
def safe_loading() -> Iterator[None]:
    """Makes MMEngine read all checkpoints by :func:`read_state`; its own loaders may execute code in them.

    After the ``with`` block, or the decorated function, MMEngine's own loaders read them again.
    """
    global _depth
    for prefix in LOADERS:
        CheckpointLoader.register_scheme(prefix, read_state, force=True)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            for prefix, loader in LOADERS.items():
                CheckpointLoader.register_scheme(prefix, loader, force=True)
