"""Converts pretrained weights of related networks, as other libraries save them, to this package's layout.

ReSwin and Swin-VSA have the tensors of Swin Transformer, ReViT those of ViT, and ReMViTv2 those of MViTv2, except for
what these networks add.
"""
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from mmengine.logging import print_log
from torch import Tensor

from ...errors import UnknownKeyError
from ..state_dicts import choose, find_prefixes, strip_prefix
from .layout import Layout, match_name


@dataclass(frozen=True, eq=False)
class LibraryLayout(Layout):
    """A library's layout of a related network.

    ``keys`` are found under any prefix, such as the name of the backbone in a detector.

    Args:
        backbones (tuple[str, ...]): Classes of this package that take the weights.
        classifier (str): Name of the classifier's linear layer, which may be outside the prefix; its weights become
            those of our head. Empty if our network has no use for it.
        prepare (Callable | None): Changes the library's state dict, without prefix, before keys are renamed.
    """
    backbones: tuple[str, ...] = ()
    classifier: str = ''
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None

    def find_prefix(self, weights: Mapping) -> str | None:
        """Returns the prefix of the keys in weights of this layout, or None for another layout.

        Raises:
            CheckpointError: If several sets of weights have this layout.
        """
        prefixes = find_prefixes(weights, self.keys, share=1.)
        return choose(prefixes, 'the checkpoint') if prefixes else None

    def convert(self, weights: Mapping[str, Tensor], source: str = 'the checkpoint') -> dict[str, Tensor]:
        """Returns weights with this package's keys; what has no place is left out and logged.

        Raises:
            UnknownKeyError: If the network has weights that ours has no place for, or a value is not a tensor.
        """
        prefix = self.find_prefix(weights) or ''
        others = {key: x for key, x in weights.items() if not key.startswith(prefix)}
        own = strip_prefix(weights, prefix)
        if self.prepare is not None:
            own = self.prepare(own)
        found = {key: match_name(key, self.names) for key in own}
        unknown = [key for key, match in found.items() if match is None]
        if other := [key for key in unknown if is_learned(key) and not key.endswith('_token')]:
            raise UnknownKeyError(f'{source} is for another network: {len(other)} keys are not those of a '
                                  f'{self.network}: {shortened(other)}')
        converted = self.rename({key: x for key, x in own.items() if key not in unknown}, source)
        if head := self.classifier:
            converted |= {f'head.fc.{kind}': others.pop(f'{head}.{kind}') for kind in ('weight', 'bias')
                          if f'{head}.{kind}' in others}
        dropped = [key for key, match in found.items() if match and match.replacement is None and is_learned(key)]
        for reason, keys in (('have no place in the network', dropped), ('are unknown', unknown),
                             ('belong to other parts', list(others))):
            if keys:
                print_log(f'{source}: {len(keys)} keys of the {self.network} {reason} and were left out: '
                          f'{shortened(keys)}', logger='current')
        return join_qkv(converted)


def is_learned(key: str) -> bool:
    """Returns whether a tensor is learned, and not computed by the network."""
    return not key.endswith(('relative_position_index', 'attn_mask', 'position_ids'))


def shortened(keys: list[str]) -> str:
    """Returns names of weights, each kind once: ``blocks.*.norm1.weight``."""
    kinds = list(dict.fromkeys(re.sub(r'(?<![^.])\d+(?![^.])', '*', key) for key in keys))
    return ', '.join(kinds[:8]) + (', ...' if len(kinds) > 8 else '')


def join_qkv(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Joins the layers ``attn.query``, ``attn.key`` and ``attn.value`` to ``attn.qkv``."""
    joined = {}
    for key, x in weights.items():
        if '.attn.query.' in key:
            parts = [weights.get(key.replace('.attn.query.', f'.attn.{name}.')) for name in ('query', 'key', 'value')]
            joined[key.replace('.attn.query.', '.attn.qkv.')] = torch.cat([part for part in parts if part is not None])
        elif '.attn.key.' not in key and '.attn.value.' not in key:
            joined[key] = x
    return joined
