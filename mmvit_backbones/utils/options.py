"""Checks the keys, types and ranges of config options such as ``{'a.b.c': value}``.

MMEngine itself accepts keys that nothing reads, and detects wrong values late or not at all.
"""
import inspect
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from ..errors import UsageError
from .frameworks import import_quietly
from .text import near_names

# Config keys that MMEngine reads in addition to the arguments of Runner.
_MMENGINE_KEYS = {
    'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters',
    'model_wrapper_cfg', 'sync_bn', 'tta_model', 'tta_pipeline'
}
# Keys that builders accept in addition to the arguments of the class.
_BUILDER_KEYS = {'type', '_scope_', '_delete_', 'priority', 'convert_to_iter_based', 'optimizer', 'constructor',
                'paramwise_cfg'}
_LOADER_KEYS = {'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'num_batch_per_epoch'}
# Minimum values of integer options.
_MINIMUMS = dict(batch_size=1, num_workers=0, prefetch_factor=1, max_epochs=1, max_iters=1, val_interval=1, val_begin=0,
               seed=0, accumulative_counts=1, num_classes=1)


def check_option(cfg: Config, key: str, value: object) -> None:
    """Raises UsageError if the key is unknown, or if the value has the wrong type or is out of range.

    A key may add an argument that the class of the dict accepts. In a dict whose arguments are not all known, for
    example because it has no ``type``, an unknown key is an error only if it resembles a known one.
    """
    first, *rest = key.split('.')
    node, place = cfg.to_dict(), []
    if first not in node:
        known = {*_MMENGINE_KEYS, *inspect.signature(Runner.__init__).parameters} - {'self'}
        if first not in known:
            raise UsageError(f'option {key}: {_unknown("the config", first, {*node, *known})}')
        if not rest:
            return
        node[first] = {}
    for part in (first, *rest):
        name = '.'.join(place) or 'the config'
        is_list = isinstance(node, (list, tuple))
        if is_list:
            node = {str(index): entry for index, entry in enumerate(node)}
        if not isinstance(node, dict):
            raise UsageError(f'option {key}: {name} is {node!r} and has no {part}')
        if part not in node:
            if is_list or len(place) < len(rest):
                raise UsageError(f'option {key}: {_unknown(name, part, node)}')
            _check_new(cfg, key, place, node, part)
            return _check_value(key, None, value)
        place.append(part)
        node = node[part]
    if place[-1] == 'type' and isinstance(value, str):
        _check_type(cfg, key, value)
    _check_value(key, node, value)


def _unknown(name: str, part: str, known: Iterable) -> str:
    known = sorted(map(str, known))
    return f'{name} has no {part}' + (near_names(part, known) or f'; its keys are {", ".join(known)}')


def _check_new(cfg: Config, key: str, place: list[str], node: dict, part: str) -> None:
    """Raises UsageError for a new key in a dict, unless it may be an argument of the object built from the dict."""
    arguments, is_closed = _arguments(cfg, place, node)
    known = {*node, *arguments}
    if part in arguments or not is_closed and not get_close_matches(part, known, cutoff=0.75):
        return
    raise UsageError(f'option {key}: {_unknown(".".join(place), part, known)}')


def _arguments(cfg: Config, place: list[str], node: dict) -> tuple[set[str], bool]:
    """Returns the arguments of the object built from a dict, and whether it accepts no other arguments."""
    if place[-1].endswith('_dataloader'):
        return set(inspect.signature(DataLoader).parameters) | _LOADER_KEYS, True
    if place == ['train_cfg'] and 'type' not in node:
        return {name for loop in (EpochBasedTrainLoop, IterBasedTrainLoop)
                for name in inspect.signature(loop).parameters} | {'by_epoch'}, True
    if place[-1] == 'clip_grad':
        by_norm = node.get('type', 'norm') == 'norm'
        return set(inspect.signature(clip_grad_norm_ if by_norm else clip_grad_value_).parameters) | {'type'}, True
    if place == ['randomness']:
        return set(inspect.signature(Runner.set_randomness).parameters), True
    classes = list(_classes(cfg, node['type'])) if 'type' in node else []
    if not classes:
        return set(), False
    found = [_arguments_of(cls) for cls in classes]
    return set.union(_BUILDER_KEYS, *(names for names, _ in found)), all(is_closed for _, is_closed in found)


def _arguments_of(cls: Callable) -> tuple[set[str], bool]:
    """Returns the arguments of a class and of bases that receive its ``**kwargs``, and whether these are all."""
    calls = [cls]
    if isinstance(cls, type):
        calls = [base.__dict__['__init__'] for base in cls.__mro__ if '__init__' in base.__dict__]
    names, is_closed = set(), True
    for call in calls:
        try:
            parameters = inspect.signature(call).parameters.values()
        except ValueError:  # some built-ins have no signature
            return names, False
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return names, is_closed
        is_closed = False
    return names, False


def _classes(cfg: Config, name: object) -> Iterator[Callable]:
    """Yields the classes that a ``type`` can refer to: ``name`` itself, or all classes registered under that name."""
    if callable(name):
        yield name
    elif isinstance(name, str):
        for registry in _registries(cfg):
            if found := registry.module_dict.get(name.rpartition('.')[2]):
                yield found


def _registries(cfg: Config) -> list[Registry]:
    framework = cfg.default_scope
    import_quietly(framework)
    import_module(f'{framework}.evaluation')
    modules = registries, import_module(f'{framework}.registry')
    return [value for module in modules for value in vars(module).values() if isinstance(value, Registry)]


def _check_type(cfg: Config, key: str, name: str) -> None:
    """Raises UsageError for a ``type`` that is not registered; dotted names are left to MMEngine."""
    if any(_classes(cfg, name)) or '.' in name:
        return
    known = {known for registry in _registries(cfg) for known in registry.module_dict}
    raise UsageError(f'option {key}: {name} is not registered{near_names(name, known)}')


def _check_value(key: str, before: object, value: object) -> None:
    """Raises UsageError if a value differs in type from the current value, or is out of range."""
    least = _MINIMUMS.get(key.rpartition('.')[2])
    is_default = before is None and value is None
    if key.endswith('.seed') and isinstance(value, int) and value >= 2**32:
        raise UsageError(f'option {key} must be below 2**32, got {value}')
    if least is not None and not is_default and (type(value) is not int or value < least):
        raise UsageError(f'option {key} must be an integer of at least {least}, got {value!r}')
    kinds = _kind(before), _kind(value)
    if None not in (before, value) and kinds[0] != kinds[1] and kinds not in _INTERCHANGEABLE:
        raise UsageError(f'option {key} must be {kinds[0]} like {before!r:.80}, got {value!r:.80}')


_INTERCHANGEABLE = {('a list', 'a number'), ('a number', 'a list'), ('a list', 'a string'), ('a string', 'a list')}


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return 'a boolean'
    names = ((dict, 'a dict'), ((list, tuple), 'a list'), ((int, float), 'a number'), (str, 'a string'))
    return next((name for kind, name in names if isinstance(value, kind)), 'an object')
