"""Finds the state dict of a model in a checkpoint, and the prefixes of its names."""
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import takewhile

import torch
from torch import Tensor

from ..errors import CheckpointError, UnknownKeyError
from ..utils.finite import MAX_DEPTH

# Keys under which training programs save state dicts, besides those of averaged weights.
USUAL_KEYS = {
    'state_dict', 'model_state_dict', 'model', 'module', 'net', 'network', 'params', 'weights', 'checkpoint', 'state',
    'best_state_dict', 'best_model_state_dict', 'best_model', 'student', 'teacher', 'generator',
}
AVERAGED = re.compile(r'(?:^|[._])(?:ema|swa|avg|averaged?|shadow)(?:[._\d]|$)', re.IGNORECASE)


def find_state_dict(checkpoint: Mapping, source: str = 'the checkpoint', suits: Callable[[Mapping], bool] | None = None,
                    prefix: str = '') -> dict[str, Tensor]:
    """Returns the state dict in a checkpoint, without the prefixes that wrappers of a model add to its names.

    Of several state dicts, those with suitable names are taken, or else those under usual keys, or else those with
    names of modules; then averaged weights come before the others.

    Args:
        checkpoint (Mapping): A state dict, or a dict that contains state dicts on any of ``MAX_DEPTH`` levels.
        source (str): Name for messages.
        suits (Callable | None): Returns whether a state dict has suitable names. Defaults to None: not known.
        prefix (str): Selects the names that start with it, and removes it. It may begin with the keys of the dicts
            around the state dict: ``'teacher.'`` for ``dict(teacher=state_dict, student=other)``.

    Raises:
        CheckpointError: If several state dicts are equally suitable, such as those of a teacher and a student.
        UnknownKeyError: If a key is not a string.
    """
    found = {path: clean_names(weights) for path, weights in _state_dicts(checkpoint)}
    if 'steps' in found.get('ema_state_dict', ()) and not prefix.startswith('ema_state_dict'):
        del found['ema_state_dict']  # MMEngine saves the averaged weights as state_dict, and the others here
    if prefix:
        found = {path: chosen for path, weights in found.items() if (chosen := _select(weights, path, prefix))}
    found = {path: strip_outer(weights) for path, weights in found.items()}
    if not found:
        return {} if prefix else _with_names(checkpoint, source)
    suitable = [path for path, weights in found.items() if suits is not None and suits(weights)]
    # Loose tensors, such as a loss, are no state dict.
    of_modules = [path for path, weights in found.items() if any('.' in str(name) for name in weights)] or list(found)
    usual = [path for path in of_modules if USUAL_KEYS.issuperset(path.split('.')) or AVERAGED.search(path)]
    paths = suitable or usual or of_modules
    are_equal = all(_are_equal(found[paths[0]], found[path]) for path in paths[1:])
    return _with_names(found[paths[0] if are_equal else choose(paths, source)], source)


def _state_dicts(checkpoint: Mapping, path: str = '', depth: int = 0) -> Iterator[tuple[str, Mapping]]:
    """Yields the dicts with tensors, and the keys of the dicts around them; the states of optimizers are left out."""
    if any(isinstance(x, Tensor) for x in checkpoint.values()):
        yield path, checkpoint
    if depth < MAX_DEPTH:
        for key, value in checkpoint.items():
            if isinstance(key, str) and isinstance(value, Mapping) and 'optim' not in key.lower():
                yield from _state_dicts(value, f'{path}.{key}'.lstrip('.'), depth + 1)


def _select(weights: Mapping, path: str, prefix: str) -> Mapping:
    """Returns the weights whose names start with a prefix, which may begin with the keys of the surrounding dicts."""
    words, around = clean_name(prefix).split('.'), path.split('.')
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(words, around))))
    prefixes = '.'.join(words), clean_name('.'.join(words[same:]))
    selected = (strip_prefix(named, each) for named in (weights, strip_outer(weights)) for each in prefixes)
    return next(filter(None, selected), {})


def _are_equal(weights: Mapping, others: Mapping) -> bool:
    """Returns whether two state dicts are the same, saved under two keys."""
    return weights.keys() == others.keys() and all(
        isinstance(x, Tensor) and isinstance(y, Tensor) and torch.equal(x, y)
        for x, y in zip(weights.values(), others.values()))


def _with_names(weights: Mapping, source: str) -> dict[str, Tensor]:
    for key in weights:
        if not isinstance(key, str):
            raise UnknownKeyError(f'{source}: the key {key!r} is not the name of a weight')
    return dict(weights)


def choose(names: Collection[str], source: str) -> str:
    """Returns the name of averaged weights and their plain counterpart that is averaged, or the only name.

    Raises:
        CheckpointError: If the names do not decide.
    """
    averaged = [name for name in names if AVERAGED.search(name)]
    if len(averaged) <= 1 and len(names) - len(averaged) <= 1:
        return (averaged or list(names))[0]
    keys = [name.rstrip('.') or 'the file itself' for name in names]
    raise CheckpointError(f'{source} has several sets of weights: {", ".join(keys)}; choose one by prefix, as in '
                          f"init_cfg=dict(type='Pretrained', checkpoint=..., prefix='{keys[-1]}.')")


# ---- prefixes of names

# Wrappers that PyTorch adds to names: compilation, sharding, activation checkpointing, and data parallel training.
WRAPPERS = re.compile(r'(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
PARALLEL = re.compile(r'^(?:module\.)+')
# Wrappers around OpenMMLab's models, as Lightning, Transformers and own loops write them.
OUTER = re.compile(r'(?:(?:model|net|network)\.)+(?=backbone\.)')
OUR_PREFIXES = 'backbone.', ''


def clean_names(weights: Mapping) -> dict:
    """Returns weights with the names that they have without PyTorch's wrappers; other keys are kept."""
    return {clean_name(key) if isinstance(key, str) else key: x for key, x in weights.items()}


def strip_outer(weights: Mapping) -> dict:
    """Returns weights without the prefix of a wrapper around a model with a ``backbone``."""
    outer = next((match[0] for key in weights if (match := OUTER.match(str(key)))), '')
    return {key.removeprefix(outer) if isinstance(key, str) else key: x for key, x in weights.items()}


def clean_name(name: str) -> str:
    """Returns the name of a weight without the prefixes that PyTorch's wrappers add."""
    return PARALLEL.sub('', WRAPPERS.sub('', name))


def strip_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the weights whose names start with a prefix, with the prefix removed from the names."""
    return {key.removeprefix(prefix): x for key, x in weights.items() if not prefix or str(key).startswith(prefix)}


def find_prefixes(names: Iterable[str], own: Collection[str], share: float = 0.5) -> list[str]:
    """Returns the prefixes with which at least a share of a model's own names are among ``names``.

    A checkpoint may lack some of the model's weights, such as output norms, and other parts of a checkpoint may have
    some of its names.
    """
    own, counts = set(own), Counter()
    for name in names:
        words = str(name).split('.')
        counts.update('.'.join([*words[:i], '']) for i in range(len(words)) if '.'.join(words[i:]) in own)
    return [prefix for prefix, count in counts.items() if count >= share * len(own)]


def find_prefix(names: Collection[str], own: Collection[str], source: str) -> str | None:
    """Returns the prefix of a model's own names among ``names``, or None for another network.

    ``'backbone.'`` and no prefix come first, then averaged weights.

    Raises:
        CheckpointError: If several other prefixes are equally suitable.
    """
    found = find_prefixes(names, own) or [  # loading reports the weights that are missing
        prefix for prefix in OUR_PREFIXES if any(prefix + name in names for name in own)]
    ours = next((prefix for prefix in OUR_PREFIXES if prefix in found), None)
    return choose(found, source) if found and ours is None else ours
