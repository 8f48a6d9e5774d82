"""Tools for reading other people's checkpoint layouts."""
import re
from collections.abc import Callable, Mapping

from mmengine.logging import print_log
from torch import Tensor

from .detectron2 import OTHER_PARTS, layout_of, order_by_ratio

PARAMETERS = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
THREE_CONVS = {0: 'conv1', 1: 'norm1', 3: 'conv2', 4: 'norm2', 6: 'conv3'}  # with a ReLU after each norm
AVERAGED = ('state_dict_ema', 'state_dict', 'model')  # the averaged weights are those of the published accuracy


def converter(network: str, layout: dict[str, str | Callable | None], wrappers: tuple[str, ...],
              prefixes: tuple[str, ...] = (), first: str = '',
              reshape: Callable[[str, Tensor], Tensor] | None = None) -> Callable[[Mapping], dict[str, Tensor]]:
    """A function from the authors' file to ``backbone.*`` and ``head.fc.*``; it raises KeyError if a key is unknown.

    Args:
        network (str), layout (dict), wrappers (tuple[str, ...]): As for :func:`rename` and :func:`unwrap`.
        prefixes (tuple[str, ...]): What detectors and segmenters put before the backbone's names, the longest first.
            Detectors and segmenters come back whole, with the names of mmdet and mmseg.
        first (str): How names go on after a prefix. Defaults to '': in any way.
        reshape (Callable | None): From our name and a tensor of theirs to ours. Defaults to None: they are the same.
    """
    def convert(checkpoint: Mapping) -> dict[str, Tensor]:
        weights = unwrap(checkpoint, wrappers)
        prefix = next((prefix for prefix in prefixes if any(key.startswith(prefix + first) for key in weights)), None)
        others = {} if prefix is None else {key: x for key, x in weights.items() if key.startswith(OTHER_PARTS)}
        converted = rename({key.removeprefix(prefix or ''): x for key, x in weights.items() if key not in others},
                           layout, network)
        if reshape is not None:
            converted = {key: reshape(key, x) for key, x in converted.items()}
        return converted | convert_parts(others)

    return convert


def convert_parts(others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pyramid and heads of detectron2's Mask R-CNN or RetinaNet by mmdet's names: ``neck.*``, ``roi_head.*`` and so on;
    those with other layers are left out, with a log line.
    """
    try:
        converted = rename(others, layout_of(others), 'detectron2')
    except KeyError as error:
        print_log(f"the detector's pyramid and heads are left out: {error.args[0]}", logger='current')
        return {}
    return {key: order_by_ratio(x) if key.startswith('bbox_head.retina_') else x for key, x in converted.items()}


def from_zero(template: str, group: int = 1) -> Callable[[re.Match], str]:
    """A replacement whose ``{}`` is a group, a number that the authors count from 1 and we from 0."""
    return lambda match: match.expand(template.format(int(match[group]) - 1))


def unwrap(checkpoint: Mapping, wrappers: tuple[str, ...] = ('state_dict', )) -> dict[str, Tensor]:
    """Finds the state dict in a training state, under one of some keys, of which the first is the best, and removes
    the ``module.`` prefix that DataParallel leaves.
    """
    for wrapper in wrappers:
        if isinstance(checkpoint.get(wrapper), Mapping):
            return unwrap(checkpoint[wrapper], wrappers)
    return {key.removeprefix('module.'): value for key, value in checkpoint.items()}


def strip_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names start with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def rename(state_dict: Mapping[str, Tensor], layout: dict[str, str | Callable | None],
           network: str) -> dict[str, Tensor]:
    """Renames every key by the first pattern of ``layout`` that matches the whole name of its module; a parameter with
    a name other than those of ``PARAMETERS`` is matched together with it. KeyError names a key that no pattern matches.

    Replacements are strings or functions of the match, as in ``re.sub``; None drops the tensor.
    """
    renamed = {}
    for key, value in state_dict.items():
        module, dot, parameter = key.rpartition('.')
        name, parameter = (module, dot + parameter) if parameter in PARAMETERS else (key, '')
        for pattern, replacement in layout.items():
            if match := re.fullmatch(pattern, name):
                break
        else:
            raise KeyError(f'{key!r} is not a key of a published {network} checkpoint')
        if replacement is not None:
            ours = replacement(match) if callable(replacement) else match.expand(replacement)
            renamed[ours + parameter] = value
    return renamed
