"""Finds the weights in a checkpoint by their tensors, whatever keys they were saved under."""
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import takewhile

import torch
from torch import Tensor

from ..errors import CheckpointError, UnknownKeyError

MAX_DEPTH = 4  # limits the search, because a dict may contain itself
# Wrappers that PyTorch adds to names: compilation, sharding, activation checkpointing, and data parallel training.
WRAPPED = re.compile(r'(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
PARALLEL = re.compile(r'^(?:module\.)+')
# Wrappers around OpenMMLab's models, as Lightning, Transformers and own loops write them.
OUTER = re.compile(r'(?:(?:model|net|network)\.)+(?=backbone\.)')
AVERAGED = re.compile(r'(?:^|[._])(?:ema|swa|avg|averaged?|shadow)(?:[._\d]|$)', re.IGNORECASE)
OUR_PREFIXES = 'backbone.', ''

Score = Callable[[Mapping], int]


def unwrap(checkpoint: Mapping, source: str = 'the checkpoint', score: Score | None = None, prefix: str = ''
           ) -> dict[str, Tensor]:
    """Returns the state dict in a checkpoint, without the prefixes that wrappers of a model add to its keys.

    Averaged weights come before the others. Of several state dicts, those with less than half of the highest score are
    left out, such as the state of a loss.

    Args:
        checkpoint (Mapping): A state dict, or a dict that contains state dicts on any of ``MAX_DEPTH`` levels.
        source (str): Name for messages.
        score (Callable | None): Returns how well a state dict suits a model; by default, its number of tensors.
        prefix (str): Selects the keys that start with it, and removes it. It may begin with the keys of the dicts
            around the state dict: ``'teacher.'`` for ``dict(teacher=state_dict, student=other)``.

    Raises:
        CheckpointError: If several state dicts are equally suitable, such as those of a teacher and a student.
        UnknownKeyError: If a key is not a string.
    """
    found = {path: {clean_key(key): x for key, x in weights.items()} for path, weights in _state_dicts(checkpoint)}
    if prefix:
        inside = str(clean_key(prefix))
        found = {path: chosen for path, weights in found.items() if (chosen := _select(weights, path, inside))}
    found = {path: _strip_outer(weights) for path, weights in found.items()}
    if 'ema_state_dict' in found and 'steps' in found['ema_state_dict']:
        del found['ema_state_dict']  # MMEngine saves the averaged weights as state_dict, and the others here
    scores = {path: score(weights) for path, weights in found.items()} if score else {}
    if not any(scores.values()):
        scores = {path: sum(isinstance(x, Tensor) for x in weights.values()) for path, weights in found.items()}
    best = _best(scores)
    first, *others = best or ['']
    if others and not all(_are_equal(found[first], found[other]) for other in others):
        first = choose(best, source)
    weights = found.get(first, {} if prefix else checkpoint)
    for key in weights:
        if not isinstance(key, str):
            raise UnknownKeyError(f'{source}: the key {key!r} is not the name of a weight')
    return dict(weights)


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
    words, around = prefix.split('.'), path.split('.')
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(words, around))))
    return strip_prefix(weights, prefix) or strip_prefix(weights, str(clean_key('.'.join(words[same:]))))


def _are_equal(weights: Mapping, others: Mapping) -> bool:
    """Returns whether two state dicts are the same, saved under two keys."""
    return weights.keys() == others.keys() and all(
        isinstance(x, Tensor) and isinstance(y, Tensor) and torch.equal(x, y)
        for x, y in zip(weights.values(), others.values()))


def _best(scores: Mapping[str, int]) -> list[str]:
    """Returns the names with at least half of the highest score."""
    highest = max(scores.values(), default=0)
    return [name for name, score in scores.items() if 2 * score >= highest > 0]


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


def clean_key(key: object) -> object:
    """Returns the name of a weight without the prefixes of wrappers."""
    return PARALLEL.sub('', WRAPPED.sub('', key)) if isinstance(key, str) else key


def _strip_outer(weights: Mapping) -> Mapping:
    outer = next((match[0] for key in weights if (match := OUTER.match(str(key)))), '')
    return {key.removeprefix(outer) if isinstance(key, str) else key: x for key, x in weights.items()}


def strip_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the weights whose names start with a prefix, with the prefix removed from the names."""
    return {key.removeprefix(prefix): x for key, x in weights.items() if not prefix or str(key).startswith(prefix)}


def count_prefixes(own: Collection[str], given: Collection[str]) -> Counter[str]:
    """Returns the prefixes with which a model's own keys occur among the given ones, and how many keys each has."""
    own, counts = set(own), Counter()
    for key in given:
        words = str(key).split('.')
        counts.update('.'.join([*words[:i], '']) for i in range(len(words)) if '.'.join(words[i:]) in own)
    return counts


def find_prefix(own: Collection[str], given: Collection[str], source: str) -> str | None:
    """Returns the prefix with which most of a model's own keys occur among the given ones, or None for another network.

    ``'backbone.'`` and no prefix come first, then averaged weights. Other prefixes have at least half of the keys.

    Raises:
        CheckpointError: If several other prefixes are equally suitable.
    """
    counts = count_prefixes(own, given)
    best = _best(counts)
    ours = [prefix for prefix in OUR_PREFIXES if prefix in best]
    if ours:
        return ours[0]
    return choose(best, source) if best and 2 * counts[best[0]] >= len(own) else None
