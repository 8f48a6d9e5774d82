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
from ..utils.finite import not_finite
from ..utils.text import near_names
from .adapt import adapt
from .converters.layout import Layout, convert
from .converters.relative import Relative, convert_relative
from .download import fetch, fetch_url, first_reading
from .files import load_checkpoint_file
from .relatives import TIMM, TORCHVISION, read_by_name, relatives_of, start_rest
from .runs import find_checkpoint
from .unwrap import Score, count_prefixes, find_prefix, strip_prefix, unwrap
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
            ``official://NAME[/TAG]`` for the authors' weights, which are converted; ``timm://NAME`` or
            ``torchvision://NAME``, downloaded by these libraries; or a name with another scheme, which is read by
            MMEngine's loader for the scheme.
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
    if filename.startswith((TIMM, TORCHVISION)):
        return dict(state_dict=read_by_name(filename))
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
    try:
        path = fetch(variant.find_weights(tag))
    except CheckpointError as error:
        if not variant.relative or variant.relative in str(error):
            raise
        raise CheckpointError(f'{error}{variant.hint_of_relative}') from error
    with first_reading(path, f'checkpoint {path} cannot be used for {variant.name}: '):
        layout = variant.family.layout
        weights, found = recognize(load_checkpoint_file(path), [layout], variant.name)
        weights = weights if found is None else convert(weights, layout, variant.name)
        if not any(key.startswith('backbone.') for key in weights):
            raise CheckpointError(f'no key matches; expected {layout.keys[0]!r}, got {next(iter(weights), None)!r}')
        if difference := _different_shape(variant, weights):
            raise CheckpointError(difference)
    return weights


def find_networks(weights: Mapping[str, Tensor], layout: Layout | None = None) -> list[str]:
    """Returns the names of the networks whose linear layers have the same shapes as in the converted weights.

    Args:
        weights (Mapping[str, Tensor]): Converted weights.
        layout (Layout | None): The layout from which they were converted. Defaults to None: any layout, which takes
            longer.
    """
    return [name for name, variant in VARIANTS.items()
            if layout in (None, variant.family.layout) and not _different_shape(variant, weights)]


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
    """Reads a checkpoint for any model: its weights, converted from the authors' layout, under ``'state_dict'``.

    The state of a training with MMEngine is kept. The layout that other networks share is converted only by
    :func:`find_weights`, which knows the model.
    """
    checkpoint = read_checkpoint(filename, map_location)
    weights, layout = recognize(checkpoint, [layout for layout in LAYOUTS if not layout.is_shared], filename)
    if layout is not None:
        return dict(state_dict=convert(weights, layout, filename))
    training = checkpoint if 'state_dict' in checkpoint and 'meta' in checkpoint else {}
    return {**training, 'state_dict': weights}


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


def recognize(checkpoint: Mapping, layouts: Collection[Layout] = LAYOUTS, source: str = 'the checkpoint',
              score: Score | None = None, prefix: str = '') -> tuple[dict[str, Tensor], Layout | None]:
    """Returns the state dict in a checkpoint, and which of the authors' layouts it has; None for this package's.

    If it has the keys of several layouts, the authors' layout with the most keys is returned. See :func:`unwrap` for
    the other arguments and for errors.
    """
    weights = unwrap(checkpoint, source, score, prefix)
    return weights, find_layout(weights, layouts)


def find_layout(weights: Mapping, layouts: Collection[Layout]) -> Layout | None:
    found = [layout for layout in layouts if layout.find_prefix(weights) is not None]
    return max(found, key=lambda layout: (not isinstance(layout, Relative), len(layout.keys)), default=None)


def layouts_for(model: nn.Module, layouts: Collection[Layout]) -> list[Layout]:
    """Returns the layouts that a model may load: those of the authors among ``layouts``, then those of relatives."""
    backbone = type(getattr(model, 'backbone', model)).__name__
    authors = [layout for layout in layouts if not layout.is_shared or layout.network == backbone]
    return [*authors, *relatives_of(backbone)]


def to_own_keys(weights: Mapping[str, Tensor], layout: Layout | None, source: str) -> dict[str, Tensor]:
    """Returns weights with this package's keys."""
    if isinstance(layout, Relative):
        return convert_relative(weights, layout, source)
    return convert(weights, layout, source) if layout else dict(weights)


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
        ValueError: If ``name`` or ``task`` is unknown, or there are several sets of weights.
        KeyError: If there are no weights, a key is unknown, or a value is not a tensor.
    """
    check_task(task)
    layouts = LAYOUTS if name is None else [find_variant(name).family.layout]
    weights, found = recognize(state_dict, layouts)
    layout = found if name is None else layouts[0]
    if not any(isinstance(x, Tensor) for x in weights.values()):
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
    load_checkpoint(model, weights, source, [variant.family.layout], new_head=new_head)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Loads the checkpoint in ``init_cfg=dict(type='Pretrained', ...)`` into a backbone of this package."""

    def __init__(self, checkpoint: str, prefix: str | None = None) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix

    def __call__(self, backbone: BaseModule) -> None:
        load_backbone(backbone, self.checkpoint, self.prefix)


def load_backbone(backbone: BaseModule, filename: str, prefix: str | None = None) -> None:
    """Loads the checkpoint of ``init_cfg=dict(type='Pretrained', checkpoint=FILENAME)`` into a backbone.

    ``prefix`` is the prefix of the backbone's keys in the file, and is found by default.

    Raises:
        CheckpointError: If the file cannot be read, or weights are missing, not tensors or of the wrong shape, or too
            many are unknown.
    """
    load_checkpoint(backbone, read_checkpoint(filename), filename, prefix=f'{prefix.rstrip(".")}.' if prefix else '')


def load_checkpoint(model: nn.Module, checkpoint: Mapping, source: str, layouts: Collection[Layout] = LAYOUTS,
                    prefix: str = '', new_head: bool = False) -> None:
    """Loads the weights in a checkpoint of the authors, a framework, an own training loop or this package into a model.

    Args:
        model (nn.Module): A backbone, or a model of OpenMMLab.
        checkpoint (Mapping): Content of the file; see :func:`read_checkpoint`.
        source (str): Name of the checkpoint for messages.
        layouts (Collection[Layout]): Layouts of the authors that the checkpoint may have.
        prefix (str): See :func:`find_weights`.
        new_head (bool): Whether the model keeps its own head if the numbers of classes differ. Defaults to False.

    Raises:
        CheckpointError: See :func:`find_weights` and :func:`load_weights`.
    """
    weights, layout = find_weights(model, checkpoint, source, layouts, prefix)
    check_tensors(model, weights, source)
    weights = adapt(weights, model, source, new_head)
    if isinstance(layout, Relative):
        load_weights(model, start_rest(model, weights, layout, source, new_head), source)
    else:
        load_weights(model, weights, source, strict=layout is not None)


def find_weights(model: nn.Module, checkpoint: Mapping, source: str, layouts: Collection[Layout] = LAYOUTS,
                 prefix: str = '') -> tuple[dict[str, Tensor], Layout | None]:
    """Returns the weights in a checkpoint that suit a model, under the model's names, and the layout that they had.

    The prefix of the model's names, such as ``'backbone.'``, ``'encoder.'`` or the keys of dicts around the weights,
    is found if ``prefix`` is empty. Averaged weights come first.

    Raises:
        CheckpointError: If the checkpoint is for another network, or has several suitable sets of weights.
        UnknownKeyError: If the checkpoint has one of the authors' layouts and another key, or a key is not a string.
    """
    model = unwrap_model(model)
    own, layouts = list(model.state_dict()), layouts_for(model, layouts)

    def score(weights: Mapping) -> int:
        recognized = find_layout(weights, layouts) is not None
        return len(weights) if recognized else max(count_prefixes(own, weights).values(), default=0)

    weights, layout = recognize(checkpoint, layouts, source, score, prefix)
    if prefix and not weights:  # the prefix may be one of this package's names in a file of the authors
        whole, layout = recognize(checkpoint, layouts, source, score)
        weights = strip_prefix(to_own_keys(whole, layout, source), prefix) if layout else {}
        if not weights:
            raise _no_match(model, whole, source, prefix)
    else:
        weights = to_own_keys(weights, layout, source)
    found = find_prefix(own, weights, source)
    if found is None:
        raise _no_match(model, weights, source)
    head = weights.get('head.fc.weight')
    if found and isinstance(head, Tensor) and head.ndim and len(head) != IMAGENET_CLASSES:
        print_log(f'{source}: the head for {len(head)} classes was not loaded', logger='current')
    return strip_prefix(weights, found), layout


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str, strict: bool = False) -> None:
    """Loads a state dict of the checkpoint ``source`` into a model, which may be inside wrappers.

    A few unknown keys, such as the mask token of a pretraining, are named in the log and left out.

    Raises:
        CheckpointError: If weights are missing, are not tensors, not finite or of the wrong shape, or if too many keys
            are unknown to the model: more than ``MAX_UNEXPECTED_KEYS``, or any with ``strict``.
    """
    model = unwrap_model(model)
    check_tensors(model, weights, source)
    check_finite({name: weights[name] for name in model.state_dict().keys() & weights.keys()}, source)
    try:
        keys = model.load_state_dict(weights, strict=False)
    except ValueError as error:  # a table of positions cannot be resized
        raise CheckpointError(f'checkpoint {source} cannot be loaded: {error}') from error
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).split('\n') if 'size mismatch' in line]
        raise _other_network(source, f'{len(shapes)} shapes differ', shapes[:1] or [str(error)]) from None
    missing, unknown = keys.missing_keys, keys.unexpected_keys
    if missing or len(unknown) > (0 if strict else MAX_UNEXPECTED_KEYS):
        counts = [f'{len(missing)} weights of the model are missing'] if missing else []
        counts += [f'{len(unknown)} keys are unknown'] if unknown else []
        raise _other_network(source, ', '.join(counts), [*missing[:2], *unknown[:2]])
    if unknown:
        print_log(f'checkpoint {source}: unknown keys were not loaded: {", ".join(unknown)}', logger='current')


def check_tensors(model: nn.Module, weights: Mapping, source: str) -> None:
    """Raises CheckpointError if a weight of the model is not a tensor in the checkpoint ``source``."""
    for name, own in model.state_dict().items():  # which also has the extra state of modules
        if isinstance(own, Tensor) and name in weights and not isinstance(weights[name], Tensor):
            raise CheckpointError(f'checkpoint {source}: {name} must be a tensor, got a {type(weights[name]).__name__}')


def check_finite(weights: Mapping, source: str) -> None:
    """Raises CheckpointError if a tensor of the checkpoint ``source`` has NaN or inf, as after a loss that was NaN."""
    if found := not_finite(weights):
        raise CheckpointError(f'checkpoint {source} cannot be used: {found}, as after a training that diverged')


def check_overlap(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Raises CheckpointError if MMEngine would load nothing of a state dict, or not the backbone.

    This is the case for another network, for too many unknown keys of the backbone, and for a layout that only
    :func:`find_weights` converts.
    """
    model = unwrap_model(model)
    own = model.state_dict()
    if layout := find_layout(weights, layouts_for(model, LAYOUTS)):
        raise CheckpointError(f'checkpoint {source} has the layout of {layout.network}, which load_from cannot '
                              f"convert; use backbone.init_cfg=dict(type='Pretrained', checkpoint={source!r})")
    if not own.keys() & weights.keys():
        raise _no_match(model, weights, source)
    unknown = [key for key in weights if key.startswith('backbone.') and key not in own]
    if len(unknown) > MAX_UNEXPECTED_KEYS:
        raise _other_network(source, f'{len(unknown)} keys are unknown', unknown[:2])


def _no_match(model: nn.Module, weights: Mapping[str, Tensor], source: str, prefix: str = '') -> CheckpointError:
    own = list(model.state_dict())
    best = count_prefixes(own, weights).most_common(1)
    hint = f' (prefix {best[0][0]!r}?)' if best and best[0][0] else ''
    expected = next((prefix + name for name in own if prefix + name not in weights), prefix + own[0])
    other = next((name for name in weights if name.removeprefix(prefix) not in own), next(iter(weights), None))
    got = f'got {other!r}' if weights else 'but the checkpoint has no weights'
    return CheckpointError(f'checkpoint {source} is for another network: its keys do not match {type(model).__name__}; '
                           f'expected {expected!r}, {got}{hint}')


def _other_network(source: str, counts: str, examples: list[str]) -> CheckpointError:
    return CheckpointError(f'checkpoint {source} is for another network: {counts} ({", ".join(examples)}, ...)')


def unwrap_model(model: nn.Module) -> nn.Module:
    """Returns the model without its wrappers for distributed training or test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule('module')
    return model
