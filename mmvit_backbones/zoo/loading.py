"""Loads checkpoints of the authors, of this package and of the frameworks into models."""
import os
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, BaseTTAModel, is_model_wrapper
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from ..errors import CheckpointError, CheckpointNotFoundError, UnknownKeyError
from ..utils.runs import find_checkpoint
from ..utils.text import near_names
from .adapt import adapt
from .converters.layout import Layout, convert, strip_prefix, unwrap
from .download import fetch, fetch_url, first_reading
from .files import load_checkpoint_file
from .variants import VARIANTS, Variant, find_variant

TASKS = ('classification', 'backbone')
OFFICIAL = 'official://'
WEB = 'http://', 'https://'
IMAGENET_CLASSES = 1000
LAYOUTS = tuple(dict.fromkeys(variant.family.layout for variant in VARIANTS.values()))
MAX_UNEXPECTED_KEYS = 5  # a few stale buffers do not mean that a checkpoint is for another network

# ---- reading


def read_checkpoint(filename: str, map_location: str | None = 'cpu', mmap: bool = False) -> dict:
    """Reads a checkpoint without executing code in it.

    Args:
        filename (str): A file; the work dir of a training (:func:`find_checkpoint`); an http(s) URL;
            ``official://NAME[/TAG]`` for the authors' weights, which are converted; or a name such as
            ``torchvision://resnet50`` with another scheme, which is read by MMEngine's loader for the scheme.
        map_location (str | None): Device of the tensors; the authors' weights are always on the CPU.
        mmap (bool): See :func:`load_checkpoint_file`.

    Raises:
        UsageError: If ``map_location`` cannot be used.
        CheckpointError: If the checkpoint cannot be found, downloaded or read, or contains types that are not allowed.
    """
    if filename.startswith(OFFICIAL):
        return dict(state_dict=_read_official(filename.removeprefix(OFFICIAL)))
    if filename.startswith(WEB):
        path = fetch_url(filename)
        with first_reading(path):
            return load_checkpoint_file(path, map_location, mmap)
    if '://' in filename:
        try:
            return CheckpointLoader.load_checkpoint(filename, map_location)
        except FileNotFoundError:  # MMEngine takes a name with an unknown scheme for a file
            raise CheckpointError(f'checkpoint {filename} cannot be loaded; use a file or an http(s) URL') from None
    return load_checkpoint_file(find_checkpoint(filename), map_location, mmap)


def _read_official(name: str) -> dict[str, Tensor]:
    """Returns the authors' weights of ``NAME`` or ``NAME/TAG``, converted to this package's keys."""
    network, _, tag = name.partition('/')
    if network not in VARIANTS:
        hint = near_names(network, VARIANTS) or '; see mmvit_backbones.list_models()'
        raise CheckpointNotFoundError(f'{OFFICIAL}{name}: unknown network {network!r}{hint}; omit {OFFICIAL} to '
                                      'load a file')
    return read_published(VARIANTS[network], tag or True)


def read_published(variant: Variant, tag: str | Literal[True]) -> dict[str, Tensor]:
    """Returns the converted published weights of a variant, and downloads them if they are not cached.

    Raises:
        CheckpointError: If the weights are unavailable, corrupt or belong to another network; an invalid file is set
            aside.
    """
    path = fetch(variant.find_weights(tag))
    with first_reading(path, f'checkpoint {path} cannot be used for {variant.name}: '):
        layout = variant.family.layout
        weights = own_weights(load_checkpoint_file(path), variant.name, [layout])
        if not any(key.startswith('backbone.') for key in weights):
            raise CheckpointError(f'no key matches; expected {layout.keys[0]!r}, got {next(iter(weights), None)!r}')
        if difference := _different_shape(variant, weights):
            raise CheckpointError(difference)
    return weights


def find_networks(weights: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of the networks whose linear layers have the same shapes as in the converted weights."""
    return [name for name, variant in VARIANTS.items() if not _different_shape(variant, weights)]


def _different_shape(variant: Variant, weights: Mapping[str, Tensor]) -> str | None:
    """Returns a linear layer whose shape shows that weights belong to another variant, or None."""
    with torch.device('meta'):
        own = _linear_shapes(MODELS.build(variant.backbone).state_dict())
    found = _linear_shapes(strip_prefix(weights, 'backbone.'))
    for key in (*own, *found):
        if key not in found:
            return f'{key} with the shape {own[key]} is missing'
        if found[key] != own.get(key):
            return f'{key} has the shape {found[key]} instead of {own.get(key, "none")}'
    return None


def _linear_shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(weight.shape) for key, weight in weights.items() if key.endswith('.weight') and weight.ndim == 2}


def read_state(filename: str, map_location: str | None = None) -> dict:
    """Reads a checkpoint, converts the authors' layout, and puts a bare state dict under the key ``'state_dict'``."""
    checkpoint = read_checkpoint(filename, map_location)
    weights, layout = recognize(checkpoint, source=filename)
    if layout is not None:
        return dict(state_dict=convert(weights, layout, filename))
    are_weights = all(isinstance(value, Tensor) for value in checkpoint.values())
    return dict(state_dict=checkpoint) if are_weights else checkpoint


CheckpointLoader.register_scheme(OFFICIAL, read_state, force=True)


def use_safe_loading() -> None:
    """Makes MMEngine read files and http(s) URLs by :func:`read_state`; its own loaders may execute code in them."""
    CheckpointLoader.register_scheme(WEB, read_state, force=True)
    CheckpointLoader.register_scheme('', _read_file, force=True)


def _read_file(filename: str, map_location: str | None = None) -> dict:
    if '://' in filename:
        raise FileNotFoundError(f'there is no loader for {filename}')
    return read_state(filename, map_location)


# ---- layouts


def recognize(checkpoint: Mapping, layouts: Collection[Layout] = LAYOUTS, source: str = 'the checkpoint'
              ) -> tuple[dict[str, Tensor], Layout | None]:
    """Returns the state dict in a checkpoint, and which of the authors' layouts it has; None for this package's.

    If it has the keys of several layouts, the layout with the most keys is returned.

    Raises:
        UnknownKeyError: If a key is not a string.
    """
    found = [layout for layout in layouts
             if layout.find_prefix(unwrap(checkpoint, layout.wrappers, source)) is not None]
    layout = max(found, key=lambda layout: len(layout.keys), default=None)
    return (unwrap(checkpoint, source=source) if layout is None else
            unwrap(checkpoint, layout.wrappers, source)), layout


def own_weights(checkpoint: Mapping, source: str, layouts: Collection[Layout] = LAYOUTS) -> dict[str, Tensor]:
    """Returns the state dict in a checkpoint with this package's keys.

    Raises:
        UnknownKeyError: If the checkpoint has one of the authors' layouts and another key, or a value that is not a
            tensor; or if a key is not a string.
    """
    weights, layout = recognize(checkpoint, layouts, source)
    return weights if layout is None else convert(weights, layout, source)


def convert_state_dict(name: str | None, state_dict: Mapping,
                       task: Literal['classification', 'backbone'] = 'classification') -> dict[str, Tensor]:
    """Converts weights from the authors' layout to this package's.

    Args:
        name (str | None): One of :func:`list_models`; None recognizes the layout by its keys.
        state_dict (Mapping): The authors' state dict, or a training checkpoint that contains it.
        task (str): ``'classification'``, or ``'backbone'`` to return only the weights of the backbone. Defaults to
            ``'classification'``.

    Returns:
        dict[str, Tensor]: State dict for ``get_model(name, task).load_state_dict(..., strict=True)``.

    Raises:
        ValueError: If ``name`` or ``task`` is unknown.
        KeyError: If there are no weights, a key is unknown, or a value is not a tensor.
    """
    check_task(task)
    if name is None:
        weights, layout = recognize(state_dict)
    else:
        layout = find_variant(name).family.layout
        weights = unwrap(state_dict, layout.wrappers)
    if not weights:
        raise UnknownKeyError('the checkpoint contains no weights')
    if layout is None:
        keys = ', '.join(list(weights)[:2])
        raise UnknownKeyError(f'not a published checkpoint of any network; its keys are {keys}, ...')
    weights = convert(weights, layout)
    return strip_prefix(weights, 'backbone.') if task == 'backbone' else weights


def check_task(task: str) -> None:
    if task not in TASKS:
        raise ValueError(f'task must be one of {TASKS}, got {task!r}')


# ---- loading


def load_variant(model: nn.Module, variant: Variant, task: str, checkpoint: str | os.PathLike | None,
                 pretrained: str | bool, new_head: bool) -> None:
    """Loads a checkpoint, or the authors' weights with the tag ``pretrained``, strictly into a model of the variant.

    If ``new_head`` is True and the numbers of classes differ, the model keeps its own head.

    Raises:
        CheckpointError: If the weights are unavailable, or do not match the model.
    """
    if pretrained:
        source, weights = variant.find_weights(pretrained).name, read_published(variant, pretrained)
        if task == 'classification' and not any(key.startswith('head.') for key in weights):
            raise CheckpointError(f"pretrained={pretrained!r} ({source}) has no classifier; use task='backbone'")
    elif checkpoint is not None:
        source, weights = str(checkpoint), read_checkpoint(str(checkpoint))
    else:
        return
    _load(model, weights, source, [variant.family.layout], None if task == 'backbone' else '', new_head)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Loads the checkpoint in ``init_cfg=dict(type='Pretrained', ...)`` into a backbone of this package."""

    def __init__(self, checkpoint: str, prefix: str | None = None) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix

    def __call__(self, backbone: BaseModule) -> None:
        load_backbone(backbone, self.checkpoint, self.prefix)


def load_backbone(backbone: BaseModule, filename: str, prefix: str | None = None) -> None:
    """Loads the checkpoint of ``init_cfg=dict(type='Pretrained', checkpoint=FILENAME)`` strictly into a backbone.

    ``prefix`` is the prefix of the backbone's keys in the file. By default, it is ``'backbone.'`` if the file has such
    keys, and empty otherwise.

    Raises:
        CheckpointError: If the file cannot be read, or weights are missing, unknown, not tensors or of the wrong shape.
    """
    _load(backbone, read_checkpoint(filename), filename, prefix=f'{prefix.rstrip(".")}.' if prefix else None)


def _load(model: nn.Module, checkpoint: Mapping, source: str, layouts: Collection[Layout] = LAYOUTS,
          prefix: str | None = None, new_head: bool = False) -> None:
    """Loads a checkpoint of the authors, a framework or this package.

    ``layouts`` are those of the authors that the checkpoint may have.
    """
    weights = own_weights(checkpoint, source, layouts)
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in weights) else ''
    check_overlap(model, weights, source, prefix)
    head = weights.get('head.fc.weight')
    if prefix and isinstance(head, Tensor) and head.ndim and len(head) != IMAGENET_CLASSES:
        print_log(f'{source}: the head for {len(head)} classes was not loaded', logger='current')
    weights = strip_prefix(weights, prefix)
    check_tensors(model, weights, source)
    load_weights(model, adapt(weights, model, source, new_head), source, strict=True)


def load_weights(model: nn.Module, checkpoint: Mapping, source: str, strict: bool = False) -> None:
    """Loads the weights of the checkpoint ``source`` into a model, which may be inside wrappers.

    Raises:
        CheckpointError: If weights are missing, are not tensors or have the wrong shape, if a key is not a string, or
            if too many keys are unknown to the model: more than ``MAX_UNEXPECTED_KEYS``, or any with ``strict``.
    """
    model, weights = unwrap_model(model), unwrap(checkpoint, source=source)
    check_tensors(model, weights, source)
    try:
        keys = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).split('\n') if 'size mismatch' in line]
        raise _other_network(source, f'{len(shapes)} shapes differ', shapes[:1] or [str(error)]) from None
    missing, unexpected = keys.missing_keys, keys.unexpected_keys
    if missing or len(unexpected) > (0 if strict else MAX_UNEXPECTED_KEYS):
        counts = f'{len(missing)} weights of the model are missing, {len(unexpected)} keys are unknown'
        raise _other_network(source, counts, [*missing[:2], *unexpected[:2]])
    if unexpected:
        print_log(f'checkpoint {source}: unknown keys were not loaded: {", ".join(unexpected)}', logger='current')


def check_tensors(model: nn.Module, weights: Mapping, source: str) -> None:
    """Raises CheckpointError if a weight of the model is not a tensor in the checkpoint ``source``."""
    for name, own in model.state_dict().items():  # which also has the extra state of modules
        if isinstance(own, Tensor) and name in weights and not isinstance(weights[name], Tensor):
            raise CheckpointError(f'checkpoint {source}: {name} must be a tensor, got a {type(weights[name]).__name__}')


def check_overlap(model: nn.Module, checkpoint: Mapping, source: str, prefix: str = '') -> None:
    """Raises CheckpointError if a checkpoint has none of the model's keys with ``prefix`` in front, or an invalid key.
    """
    model = unwrap_model(model)
    own, given = [prefix + key for key in model.state_dict()], unwrap(checkpoint, source=source)
    if any(key in given for key in own):
        return
    longer = next((key.removesuffix(name) for name in own for key in given if key.endswith(f'.{name}')), None)
    hint = f' (prefix {longer!r}?)' if longer else ''
    first = f'got {next(iter(given))!r}' if given else 'but the checkpoint has no weights'
    raise CheckpointError(f'checkpoint {source} is for another network: no key matches {type(model).__name__}; '
                          f'expected {own[0]!r}, {first}{hint}')


def _other_network(source: str, counts: str, examples: list[str]) -> CheckpointError:
    return CheckpointError(f'checkpoint {source} is for another network: {counts} ({", ".join(examples)}, ...)')


def unwrap_model(model: nn.Module) -> nn.Module:
    """Returns the model without its wrappers for distributed training or test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule('module')
    return model
