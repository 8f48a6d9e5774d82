"""From a checkpoint to the weights of a model: the authors' files, ours, and what the frameworks save."""
import os.path as osp
from collections.abc import Mapping
from difflib import get_close_matches

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, BaseTTAModel, is_model_wrapper
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_external_models, get_torchvision_models
from torch import Tensor, nn

from ..zoo import VARIANTS, Variant, find_variant
from .adapt import adapt
from .download import fetch, fetch_address, record, set_aside
from .files import CheckpointError, CheckpointNotFoundError, load_checkpoint_file
from .layout import strip_prefix, unwrap

TASKS = ('classification', 'backbone')
OFFICIAL = 'official://'
IMAGENET_CLASSES = 1000

# A few left-over buffers do not make a checkpoint another network's.
MAX_UNEXPECTED_KEYS = 5

_ADDRESS_LISTS = {
    'torchvision': get_torchvision_models,
    'modelzoo': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
}


# ---- reading


def read_checkpoint(filename: str, map_location: str | None = 'cpu', mmap: bool = False) -> dict:
    """Reads a checkpoint without running code that may hide in it.

    Args:
        filename (str): A file, an http(s) address, ``official://NAME[/TAG]`` or ``official://FILE`` for the authors'
            weights, which come back converted, or a name such as ``torchvision://resnet50``.
        map_location (str | None): Where the tensors go.
        mmap (bool): See :func:`load_checkpoint_file`.

    Raises:
        CheckpointError: If it is missing or holds anything else than weights.
    """
    if filename.startswith(OFFICIAL):
        return dict(state_dict=read_official(filename.removeprefix(OFFICIAL)))
    place = _resolve(filename)
    if not place.startswith('http'):
        return load_checkpoint_file(place, map_location, mmap)
    path = fetch_address(place)
    try:
        checkpoint = load_checkpoint_file(path, map_location, mmap)
    except CheckpointError as error:
        raise CheckpointError(f'{error}; it was set aside as {set_aside(path)}') from None
    record(path)
    return checkpoint


def read_official(name: str) -> dict[str, Tensor]:
    """The authors' weights of ``NAME``, ``NAME/TAG`` or ``FILE``, converted: ``backbone.*`` and ``head.*``.

    Raises:
        CheckpointError: If there is no such file, or it is not the authors'.
    """
    variant, _, tag = name.partition('/')
    if variant in VARIANTS and not osp.exists(name):
        return read_published(VARIANTS[variant], tag or True)
    try:
        return convert_published(read_checkpoint(name))
    except CheckpointNotFoundError:
        near = get_close_matches(variant, VARIANTS)
        told = f"; near are {', '.join(near)}" if near else ', see mmvit_backbones.list_models()'
        raise CheckpointNotFoundError(f'{OFFICIAL}{name} names neither a network nor a file{told}') from None
    except KeyError as error:
        raise CheckpointError(f'{name}: {error.args[0]}') from None


def read_published(variant: Variant, tag: str | bool = True) -> dict[str, Tensor]:
    """The published weights of a variant, converted; downloaded the first time.

    Raises:
        CheckpointError: If they cannot be had, or are another network's; then the file is set aside.
    """
    path = fetch(variant.find_weights(tag))
    try:
        weights = variant.family.convert(load_checkpoint_file(path))
        _check_sizes(variant, weights)
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(f'checkpoint {path} is not that of {variant.name}: {error.args[0]}; it was set aside '
                              f'as {set_aside(path)}') from None
    record(path)
    return weights


def _check_sizes(variant: Variant, weights: Mapping[str, Tensor]) -> None:
    """Refuses the weights of another size of the family, by the linear layers: tables are resized where it is right."""
    with torch.device('meta'):
        own = MODELS.build(variant.backbone).state_dict()
    for key, weight in own.items():
        if key.endswith('.weight') and weight.ndim == 2:
            found = weights.get(f'backbone.{key}')
            if found is None or found.shape != weight.shape:
                shape = 'is missing' if found is None else f'has the shape {tuple(found.shape)}'
                raise CheckpointError(f'its {key} {shape} instead of {tuple(weight.shape)}')


def use_safe_loading() -> None:
    """Lets MMEngine read all checkpoints through :func:`load_from_safe`; its own loaders may unpickle any code."""
    schemes = ['http', 'https', 'mmcls', 'pavi', *_ADDRESS_LISTS]
    storages = [r'(\S+\:)?s3://', r'(\S+\:)?petrel://']
    CheckpointLoader.register_scheme(
        ['', *(f'{scheme}://' for scheme in schemes), *storages], load_from_safe, force=True)


@CheckpointLoader.register_scheme(prefixes=OFFICIAL, force=True)
def load_from_safe(filename: str, map_location: str | None = None, logger: str = 'current') -> dict:
    """Reads a checkpoint for MMEngine, the authors' converted to ours; bare weights get the key that hooks ask for."""
    checkpoint = convert_if_published(read_checkpoint(filename, map_location=map_location))
    are_weights = all(isinstance(value, Tensor) for value in checkpoint.values())
    return dict(state_dict=checkpoint) if are_weights else checkpoint


def _resolve(filename: str) -> str:
    scheme, separator, name = filename.partition('://')
    if not separator or scheme in ('http', 'https'):
        return filename
    addresses = _ADDRESS_LISTS[scheme]() if scheme in _ADDRESS_LISTS else {}
    if not addresses.get(name, '').startswith('http'):
        raise CheckpointError(f'checkpoint {filename} cannot be loaded: give a file or an http(s) address')
    return addresses[name]


def _read_any(filename: str) -> dict:
    """Reads a checkpoint of a backbone, through the loader of its scheme if the user has registered one."""
    loader = CheckpointLoader._get_checkpoint_loader(filename)
    is_own = '://' in filename and not loader.__module__.startswith(('mmengine.', 'mmvit_backbones.'))
    return loader(filename, map_location='cpu') if is_own else read_checkpoint(filename)


# ---- converting


def convert_published(checkpoint: Mapping, name: str | None = None) -> dict[str, Tensor]:
    """Converts the authors' checkpoint of a variant, or of any, to ours: ``backbone.*`` and ``head.*``.

    Raises:
        KeyError: If a key is unknown; the message names it, for every family that was tried.
    """
    if name is not None:
        return dict(find_variant(name).family.convert(checkpoint))
    if not checkpoint:
        raise KeyError('not a published checkpoint of any network here: the file holds no weights')
    reasons = []
    for convert in dict.fromkeys(variant.family.convert for variant in VARIANTS.values()):
        try:
            return dict(convert(checkpoint))
        except KeyError as error:
            reasons.append(error.args[0])
    raise KeyError('not a published checkpoint of any network here: ' + '; '.join(reasons))


def convert_if_published(checkpoint: Mapping) -> Mapping:
    """Converts the authors' classifier; any other checkpoint comes back as it is."""
    try:
        return dict(state_dict=convert_published(checkpoint))
    except KeyError:
        return checkpoint


def convert_state_dict(name: str, state_dict: Mapping, task: str = 'classification') -> dict[str, Tensor]:
    """Converts the authors' weights to ours.

    Args:
        name (str): One of :func:`list_models`.
        state_dict (Mapping): The authors' checkpoint, with or without the training state around it.
        task (str): ``'classification'`` or ``'backbone'``, which leaves the classifier's tensors out.

    Returns:
        dict[str, Tensor]: What ``get_model(name, task).load_state_dict(..., strict=True)`` takes.

    Raises:
        KeyError: If a key is unknown; the message names it.
    """
    check_task(task)
    return select_task(convert_published(state_dict, name), task)


def published_or_own(checkpoint: Mapping, name: str | None = None) -> tuple[dict[str, Tensor], str]:
    """Weights of the authors' file, converted, or of what frameworks or our tools saved; and why not the first."""
    try:
        return convert_published(checkpoint, name), ''
    except KeyError as error:
        return unwrap(checkpoint), error.args[0]


def select_task(weights: Mapping[str, Tensor], task: str) -> dict[str, Tensor]:
    """Weights of a whole model as they are, or those of its backbone; a bare backbone's are not changed."""
    return (strip_prefix(weights, 'backbone.') if task == 'backbone' else {}) or dict(weights)


def check_task(task: str) -> None:
    if task not in TASKS:
        raise ValueError(f'task must be one of {TASKS}, got {task!r}')


# ---- loading


def load_variant(model: nn.Module, variant: Variant, task: str, checkpoint: str | None = None,
                 pretrained: str | bool = False, new_head: bool = False) -> None:
    """Loads a checkpoint, or the authors' weights of a tag, strictly into what :func:`get_model` builds.

    With ``new_head``, a classifier for another number of classes keeps its own head.

    Raises:
        CheckpointError: If it cannot be had or does not fit; the message names the first keys.
    """
    if pretrained:
        source, weights = variant.find_weights(pretrained).name, read_published(variant, pretrained)
        if task == 'classification' and not any(key.startswith('head.') for key in weights):
            raise CheckpointError(f"pretrained={pretrained!r}, {source}, has no classifier: task must be 'backbone'")
        weights = select_task(weights, task)
    elif checkpoint is not None:
        source, (weights, not_published) = checkpoint, published_or_own(read_checkpoint(checkpoint), variant.name)
        weights = select_task(weights, task)
        if not_published and not weights.keys() & model.state_dict().keys():
            raise CheckpointError(f'checkpoint {source} is none of {variant.name}, neither published nor ours: '
                                  f'{not_published}')
    else:
        return
    load_weights(model, adapt(weights, model, source, new_head), source, strict=True)


def load_backbone(backbone: BaseModule, filename: str, prefix: str | None = None) -> None:
    """Loads what ``init_cfg=dict(type='Pretrained', checkpoint=FILENAME)`` of a backbone names, strictly.

    ``prefix`` is what precedes the backbone's names in the file: ``'backbone.'`` where such names are, or nothing.

    Raises:
        CheckpointError: If weights are missing, of another shape or unknown; the message names the first.
    """
    weights, not_published = published_or_own(_read_any(filename))
    if prefix:
        prefix = f'{prefix.rstrip(".")}.'
    chosen = strip_prefix(weights, prefix) if prefix else select_task(weights, 'backbone')
    if not chosen.keys() & backbone.state_dict().keys():
        found = f'with prefix={prefix!r}, ' if prefix else ''
        raise CheckpointError(f'checkpoint {filename} has no weights of {type(backbone).__name__}: {found}its keys are '
                              f'{", ".join(list(weights)[:2])}, ...; {not_published}')
    head = next((weight for key, weight in weights.items() if key.startswith('head.') and weight.ndim == 2), None)
    if head is not None and len(head) != IMAGENET_CLASSES:
        print_log(f'{filename}: its head of {len(head)} classes was left out', logger='current')
    load_weights(backbone, adapt(chosen, backbone, filename), filename, strict=True)


def load_weights(model: nn.Module, checkpoint: Mapping, source: str, strict: bool = False) -> None:
    """Loads the weights of the checkpoint ``source`` into a model, wrapped or not.

    With ``strict``, unknown keys are refused, too; else a few are left out with a log line.

    Raises:
        CheckpointError: If weights are missing or of another shape.
    """
    model = unwrap_model(model)
    try:
        keys = model.load_state_dict(unwrap(checkpoint), strict=False)
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).split('\n') if 'size mismatch' in line]
        raise _other_network(source, f'{len(shapes)} shapes differ', shapes[:1] or [str(error)]) from None
    missing = [key for key in keys.missing_keys if strict or not key.endswith('num_batches_tracked')]
    unexpected = keys.unexpected_keys
    if missing or len(unexpected) > (0 if strict else MAX_UNEXPECTED_KEYS):
        counts = f'{len(missing)} weights of the model are missing, {len(unexpected)} are unknown to it'
        raise _other_network(source, counts, [*missing[:2], *unexpected[:2]])
    if unexpected:
        print_log(f'checkpoint {source}: not in the model, left out: {", ".join(unexpected)}', logger='current')


def check_overlap(model: nn.Module, checkpoint: Mapping, source: str) -> None:
    """Refuses a checkpoint that has none of a model's weights; arguments and error as for :func:`load_weights`."""
    model = unwrap_model(model)
    expected, given = model.state_dict().keys(), unwrap(checkpoint).keys()
    if not expected & given:
        raise _other_network(source, f'it has 0 of {len(expected)} weights of {type(model).__name__}',
                             list(given)[:2])


def _other_network(source: str, counts: str, examples: list[str]) -> CheckpointError:
    return CheckpointError(f'checkpoint {source} is of another network: {counts} ({", ".join(examples)}, ...)')


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside of those that wrap it for several processes or for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
