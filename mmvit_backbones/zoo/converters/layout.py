"""Recognizes the layouts of the authors' checkpoints, and converts them to this package's."""
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mmengine.logging import print_log
from torch import Tensor

from ...errors import UnknownKeyError
from .detectron2_heads import OTHER_PARTS, layout_of, order_by_ratio

PARAMETERS = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
THREE_CONVS = {0: 'conv1', 1: 'norm1', 3: 'conv2', 4: 'norm2', 6: 'conv3'}  # indices skip the ReLU after each norm
# Pattern of the authors' name -> our name, a function that maps the match to our name, or None to drop the tensor.
Replacement = str | Callable[[re.Match], str] | None
Names = Mapping[str, Replacement]


@dataclass(frozen=True, eq=False)
class Layout:
    """The authors' layout of a network's checkpoints.

    Args:
        network (str): Name for messages.
        keys (tuple[str, ...]): Keys by which the layout is recognized: every checkpoint has all of them.
        names (Names): See :func:`rename`.
        prefixes (tuple[str, ...]): Prefixes that the keys may have: '', and those of the backbone in detectors and
            segmenters, the longest first. The other parts of these models are converted to the names of mmdet and
            mmseg. Defaults to ('', ).
        reshape (Callable | None): Maps our name and the authors' tensor to our tensor. Defaults to None, which keeps
            tensors unchanged.
        is_shared (bool): Whether other networks have the same keys, so that only the model tells. Defaults to False.
    """
    network: str
    keys: tuple[str, ...]
    names: Names
    prefixes: tuple[str, ...] = ('', )
    reshape: Callable[[str, Tensor], Tensor] | None = None
    is_shared: bool = False

    def find_prefix(self, weights: Mapping) -> str | None:
        """Returns the prefix of the keys in weights of this layout, or None for another layout."""
        return next((prefix for prefix in self.prefixes if all(prefix + key in weights for key in self.keys)), None)

    def prefixes_in(self, weights: Mapping) -> list[str]:
        """Returns all prefixes, known or not, with which weights have the keys of this layout."""
        first, *others = self.keys
        found = [name.removesuffix(first) for name in weights if name == first or name.endswith(f'.{first}')]
        return [prefix for prefix in found if all(prefix + key in weights for key in others)]

    def convert(self, weights: Mapping[str, Tensor], source: str = 'the checkpoint') -> dict[str, Tensor]:
        """Returns weights of this layout with this package's keys, ``backbone.*``, ``neck.*`` and ``head.*``.

        ``source`` is the name of the checkpoint for messages.

        Raises:
            UnknownKeyError: If a key is unknown, or a value is not a tensor.
        """
        prefix = self.find_prefix(weights) or ''
        others = {key: x for key, x in weights.items() if key.startswith(OTHER_PARTS)} if prefix else {}
        own = {key.removeprefix(prefix): x for key, x in weights.items() if key not in others}
        return self.rename(own, source) | convert_parts(others)

    def rename(self, weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        """Returns weights without a prefix under our names, and with our shapes."""
        renamed = rename(weights, self.names, self.network, source)
        return {key: self.reshape(key, x) for key, x in renamed.items()} if self.reshape else renamed


def convert_parts(others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the pyramid and heads of detectron2's Mask R-CNN or RetinaNet to mmdet's ``neck.*``, ``roi_head.*`` etc.

    If a key is unknown or a value is not a tensor, logs the key and returns an empty dict.
    """
    try:
        converted = rename(others, layout_of(others), 'detectron2 Mask R-CNN or RetinaNet', 'the checkpoint')
    except UnknownKeyError as error:
        print_log(f"the detector's pyramid and heads are not converted: {error}", logger='current')
        return {}
    return {key: order_by_ratio(x) if key.startswith('bbox_head.retina_') else x for key, x in converted.items()}


def from_zero(template: str, group: int = 1) -> Callable[[re.Match], str]:
    """Returns a replacement function that formats ``template`` with the number in a group of the match, minus 1."""
    return lambda match: match.expand(template.format(int(match[group]) - 1))


def new_name(key: str, names: Names) -> str | None:
    """Returns our name for a key of the authors: '' if the tensor is dropped, and None if no pattern matches."""
    module, dot, parameter = key.rpartition('.')
    name, parameter = (module, dot + parameter) if parameter in PARAMETERS else (key, '')
    for pattern, replacement in names.items():
        if match := re.fullmatch(pattern, name):
            if replacement is None:
                return ''
            return (replacement(match) if callable(replacement) else match.expand(replacement)) + parameter
    return None


def rename(state_dict: Mapping[str, Tensor], names: Names, network: str, source: str) -> dict[str, Tensor]:
    """Renames every key by the first pattern in ``names`` that matches the full name of the module.

    If the last part of a key is not one of ``PARAMETERS``, the pattern must match the whole key. Replacements are
    strings or functions of the match, as in ``re.sub``; None drops the tensor.

    Raises:
        UnknownKeyError: If no pattern matches a key, or a value to be renamed is not a tensor.
    """
    renamed = {}
    for key, value in state_dict.items():
        name = new_name(key, names)
        if name is None:
            raise UnknownKeyError(f'{source}: {key!r} is not a key of a published {network} checkpoint')
        if not name:
            continue
        if not isinstance(value, Tensor):
            raise UnknownKeyError(f'{source}: the value of {key!r} must be a tensor, got a {type(value).__name__}')
        renamed[name] = value
    return renamed
