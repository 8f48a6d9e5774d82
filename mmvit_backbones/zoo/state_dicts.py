"""Finds the state dict of a network in a checkpoint, and the layout of its names."""
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..utils.finite import MAX_DEPTH
from .converters.layout import Layout

# Wrappers that PyTorch adds to names: compilation, sharding, activation checkpointing, and data parallel training.
WRAPPERS = re.compile(r'(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
PARALLEL = re.compile(r'^(?:module\.)+')
WHOLE = 'state_dict.', 'model.', ''  # dicts that are the state dict of a whole model; '' is the file itself
OUR_PREFIXES = 'backbone.', ''


def find_state_dict(checkpoint: Mapping, layouts: Sequence[Layout] = (), own: Collection[str] = (),
                    source: str = 'the checkpoint', prefix: str | None = None
                    ) -> tuple[dict[str, Tensor], Layout | None]:
    """Returns the state dict in a checkpoint, and which of the layouts it had; None for this package's.

    It is converted from that layout, without what PyTorch's wrappers add to names. If nothing fits, it is that of the
    whole model.

    Args:
        checkpoint (Mapping): A state dict, or a dict with one under ``'state_dict'``, ``'model'`` or other keys.
        layouts (Sequence[Layout]): Layouts that the names may have, those with the most keys first.
        own (Collection[str]): Names of the weights of the model. Defaults to (): those of the whole model.
        source (str): Name of the checkpoint for messages.
        prefix (str | None): Selects the names that start with it. It may begin with the keys of the dicts around the
            state dict: ``'teacher.'`` for ``dict(teacher=state_dict, student=other)``. Defaults to None: names start as
            in the layout, or with ``'backbone.'``.

    Raises:
        CheckpointError: If names fit with another prefix, or with several prefixes, and the weights differ, or none
            start with ``prefix``.
        UnknownKeyError: If a layout has not all keys, or a value in it is not a tensor.
    """
    is_named = prefix and f'{prefix.rstrip(".")}.' not in OUR_PREFIXES
    found = {'': select(checkpoint, str(prefix), source)} if is_named else dict(_state_dicts(checkpoint))
    if 'steps' in found.get('ema_state_dict.', ()):
        del found['ema_state_dict.']  # MMEngine saves the averaged weights as state_dict, and the others here
    whole = next((found[start] for start in WHOLE if start in found), {})
    places = _places(found, layouts, own or whole)
    if not places:
        return whole, None
    chosen = [place for place in places if place.start in WHOLE
              and place.inside in (place.layout.prefixes if place.layout else OUR_PREFIXES)]
    rivals = [strip_prefix(found[place.start], place.inside) for place in (chosen if is_named else places)]
    if not chosen or not all(are_equal(rivals[0], other) for other in rivals[1:]):
        there = ', '.join(dict.fromkeys(repr(place.start + place.inside) for place in places))
        raise CheckpointError(f'checkpoint {source} has weights that fit with the prefixes {there}: choose one '
                              'by prefix, in a config init_cfg.prefix (mmvit train --cfg-options '
                              f'model.backbone.init_cfg.prefix=PREFIX), or {use_of_prefix(source)}')
    start, _, layout = chosen[0]
    weights = found[start]
    return layout.convert(weights, source) if layout else weights, layout


def use_of_prefix(source: str, prefix: str = 'PREFIX') -> str:
    """Returns the commands with which a training starts from the weights in a file whose names start with a prefix."""
    return (f'mmvit weights convert {source} --prefix {prefix} --out own.safetensors, then mmvit train ... '
            '--pretrained own.safetensors')


def select(checkpoint: Mapping, prefix: str, source: str) -> dict[str, Tensor]:
    """Returns the weights whose names start with a prefix, without it; see :func:`find_state_dict`.

    Raises:
        CheckpointError: If there are none.
    """
    prefix, found = clean_name(f'{prefix.rstrip(".")}.'), dict(_state_dicts(checkpoint))
    named = {f'{start}{name}': x for start, weights in found.items() for name, x in weights.items()}
    sets = *(weights for start, weights in found.items() if start in WHOLE), named
    chosen = next(filter(None, (strip_prefix(weights, prefix) for weights in sets)), None)
    if chosen is None:
        there = dict.fromkeys(name.partition('.')[0] for weights in sets for name in weights)
        raise CheckpointError(f'checkpoint {source} has no names with the prefix {prefix!r}; they start with '
                              f'{", ".join(list(there)[:8])}')
    return chosen


class Place(NamedTuple):
    """Where a checkpoint has weights that fit.

    Args:
        start (str): Keys of the dicts around the state dict, each with a dot.
        inside (str): Prefix of the names in the state dict.
        layout (Layout | None): Layout of the names; None for this package's.
    """

    start: str
    inside: str
    layout: Layout | None


def _places(found: Mapping[str, Mapping], layouts: Sequence[Layout], own: Collection[str]) -> list[Place]:
    """Returns the places of weights in a layout, or with half of the own names at least: norms may be missing."""
    return [Place(start, inside, layout) for layout in (*layouts, None) for start, weights in found.items()
            for inside in (layout.prefixes_in(weights) if layout else find_prefixes(weights, own))]


def _state_dicts(checkpoint: Mapping, start: str = '', depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields the dicts with tensors, and the keys of the dicts around them, each with a dot."""
    if any(isinstance(x, Tensor) for x in checkpoint.values()):
        yield start, {clean_name(str(key)): x for key, x in checkpoint.items()}
    if depth < MAX_DEPTH:
        for key, value in checkpoint.items():
            if isinstance(key, str) and isinstance(value, Mapping):
                yield from _state_dicts(value, f'{start}{key}.', depth + 1)


def names_in(checkpoint: Mapping) -> set[str]:
    """Returns the names of the weights in all models of a checkpoint, each with a dot before it."""
    return {f'.{name}' for _, weights in _state_dicts(checkpoint) for name in weights}


def names_in_backbones(checkpoint: Mapping) -> set[str]:
    """Returns the names of the weights of backbones in all models of a checkpoint, from ``'backbone.'`` on."""
    return {f'backbone.{name.partition(".backbone.")[2]}' for name in names_in(checkpoint) if '.backbone.' in name}


def prefixes_in(checkpoint: Mapping, own: Collection[str]) -> list[str]:
    """Returns the prefixes, with the keys of dicts, of at least half of some own names in a checkpoint."""
    return [start + prefix for start, weights in _state_dicts(checkpoint) for prefix in find_prefixes(weights, own)]


def are_equal(weights: Mapping, others: Mapping) -> bool:
    """Returns whether weights are the same in two state dicts that share names."""
    pairs = [(weights[name], others[name]) for name in weights.keys() & others.keys()]
    return all(x is y or isinstance(x, Tensor) and isinstance(y, Tensor) and x.dtype == y.dtype and torch.equal(x, y)
               for x, y in pairs)


def find_prefixes(names: Iterable[str], own: Collection[str]) -> list[str]:
    """Returns the prefixes with which at least half of some own names are among ``names``."""
    own, counts = set(own), Counter()
    for name in names:
        words = name.split('.')
        counts.update('.'.join([*words[:i], '']) for i in range(len(words)) if '.'.join(words[i:]) in own)
    return [prefix for prefix, count in counts.items() if count >= len(own) / 2]


def clean_name(name: str) -> str:
    """Returns the name of a weight without the prefixes that PyTorch's wrappers add."""
    return PARALLEL.sub('', WRAPPERS.sub('', name))


def strip_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the weights whose names start with a prefix, with the prefix removed from the names."""
    return {name.removeprefix(prefix): x for name, x in weights.items() if name.startswith(prefix)}
