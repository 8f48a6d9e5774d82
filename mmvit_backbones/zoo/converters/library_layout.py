"""Converts pretrained weights of related networks, as other libraries save them, to this package's layout.

ReSwin and Swin-VSA have the tensors of Swin Transformer, ReViT those of ViT, and ReMViTv2 those of MViTv2, except for
what these networks add.
"""
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mmengine.logging import print_log
from torch import Tensor

from ...errors import UnknownKeyError
from .layout import Layout, new_name


@dataclass(frozen=True, eq=False)
class LibraryLayout(Layout):
    """A library's layout of a related network.

    Args:
        backbones (tuple[str, ...]): Classes of this package that take the weights.
        prepare (Callable | None): Changes the library's state dict, without prefix, before keys are renamed.
    """
    prefixes: tuple[str, ...] = 'backbone.', ''
    backbones: tuple[str, ...] = ()
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None

    def convert(self, weights: Mapping[str, Tensor], source: str = 'the checkpoint') -> dict[str, Tensor]:
        """Returns weights with this package's keys; what has no place is left out and logged.

        Raises:
            UnknownKeyError: If the network has weights that ours has no place for, or a value is not a tensor.
        """
        prefix = self.find_prefix(weights) or ''
        others = {key: x for key, x in weights.items() if not key.startswith(prefix)}
        own = {key.removeprefix(prefix): x for key, x in weights.items() if key not in others}
        if self.prepare is not None:
            own = self.prepare(own)
        names = {key: new_name(key, self.names) for key in own}
        unknown = [key for key, name in names.items() if name is None]
        if other := [key for key in unknown if is_learned(key) and not key.endswith('_token')]:
            raise UnknownKeyError(f'{source} is for another network: {len(other)} keys are not those of a '
                                  f'{self.network}: {shortened(other)}')
        converted = self.rename({key: x for key, x in own.items() if key not in unknown}, source)
        converted |= {key: others.pop(key) for key in ('head.fc.weight', 'head.fc.bias') if key in others}
        dropped = [key for key, name in names.items() if name == '' and is_learned(key)]
        if left := [*dropped, *unknown, *others]:
            print_log(f'{source}: {len(left)} keys have no place in the network and were left out: {shortened(left)}',
                      logger='current')
        return converted


def is_learned(key: str) -> bool:
    """Returns whether a tensor is learned, and not computed by the network."""
    return not key.endswith(('relative_position_index', 'attn_mask', 'position_ids'))


def shortened(keys: Iterable[str]) -> str:
    """Returns names of weights, each kind once: ``blocks.*.norm1.weight``."""
    kinds = list(dict.fromkeys(re.sub(r'(?<![^.])\d+(?![^.])', '*', key) for key in keys))
    return ', '.join(kinds[:8]) + (', ...' if len(kinds) > 8 else '')
