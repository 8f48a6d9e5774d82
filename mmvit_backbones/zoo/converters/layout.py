"""Converts checkpoints from the authors' layouts to this package's."""
import re
from collections.abc import Callable, Mapping

from mmengine.logging import print_log
from torch import Tensor

from .detectron2 import OTHER_PARTS, layout_of, order_by_ratio

PARAMETERS = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
THREE_CONVS = {0: 'conv1', 1: 'norm1', 3: 'conv2', 4: 'norm2', 6: 'conv3'}  # indices skip the ReLU after each norm
MAX_WRAPPERS = 3  # limits the search, because a dict may contain itself
CLASSIFIER = 'model.backbone.', 'model.neck.', 'model.head.'  # prefixes in files written by `mmvit weights convert`
AVERAGED = ('state_dict_ema', 'state_dict', 'model')  # averaged weights first, because their accuracy is published
# Pattern of the authors' name -> our name, a function that maps the match to our name, or None to drop the tensor.
Layout = Mapping[str, str | Callable[[re.Match], str] | None]


def converter(network: str, layout: Layout, wrappers: tuple[str, ...], prefixes: tuple[str, ...] = (), first: str = '',
              reshape: Callable[[str, Tensor], Tensor] | None = None) -> Callable[[Mapping], dict[str, Tensor]]:
    """Returns a function that converts the authors' checkpoint to ``backbone.*``, ``neck.*`` and ``head.*``.

    The function raises KeyError if a key is unknown, or a value is not a tensor.

    Args:
        network (str), layout (Layout): See :func:`rename`.
        wrappers (tuple[str, ...]): See :func:`unwrap`.
        prefixes (tuple[str, ...]): Prefixes of the backbone in detectors and segmenters, the longest first. The other
            parts of these models are converted to the names of mmdet and mmseg.
        first (str): A prefix is used only if a key continues with ``first`` after the prefix. Defaults to ''.
        reshape (Callable | None): Maps our name and the authors' tensor to our tensor. Defaults to None, which keeps
            tensors unchanged.
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
    """Renames the pyramid and heads of detectron2's Mask R-CNN or RetinaNet to mmdet's ``neck.*``, ``roi_head.*`` etc.

    If a key is unknown, logs the key and returns an empty dict.
    """
    try:
        converted = rename(others, layout_of(others), 'detectron2')
    except KeyError as error:
        print_log(f"the detector's pyramid and heads are not converted: {error.args[0]}", logger='current')
        return {}
    return {key: order_by_ratio(x) if key.startswith('bbox_head.retina_') else x for key, x in converted.items()}


def from_zero(template: str, group: int = 1) -> Callable[[re.Match], str]:
    """Returns a replacement function that formats ``template`` with the number in a group of the match, minus 1."""
    return lambda match: match.expand(template.format(int(match[group]) - 1))


def unwrap(checkpoint: Mapping, wrappers: tuple[str, ...] = ('state_dict', )) -> dict[str, Tensor]:
    """Returns the state dict inside a training checkpoint, from the first of the keys ``wrappers`` that is present.

    The state dict may be nested up to ``MAX_WRAPPERS`` levels deep. Removes the prefix ``module.`` of DataParallel, or
    ``model.`` of our classifiers for Transformers.

    Raises:
        KeyError: If a key is not a string.
    """
    for _ in range(MAX_WRAPPERS):
        inner = (checkpoint[name] for name in wrappers if isinstance(checkpoint.get(name), Mapping))
        checkpoint = next(inner, checkpoint)
    for key in checkpoint:
        if not isinstance(key, str):
            raise KeyError(f'the key {key!r} is not the name of a weight')
    prefix = 'model.' if all(key.startswith(CLASSIFIER) for key in checkpoint) else 'module.'
    return {key.removeprefix(prefix): value for key, value in checkpoint.items()}


def strip_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the weights whose names start with a prefix, with the prefix removed from the names."""
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def rename(state_dict: Mapping[str, Tensor], layout: Layout, network: str) -> dict[str, Tensor]:
    """Renames every key by the first pattern in ``layout`` that matches the full name of the module.

    If the last part of a key is not one of ``PARAMETERS``, the pattern must match the whole key. Replacements are
    strings or functions of the match, as in ``re.sub``; None drops the tensor.

    Raises:
        KeyError: If no pattern matches a key, or a value to be renamed is not a tensor.
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
            if not isinstance(value, Tensor):
                raise KeyError(f'the value of {key!r} must be a tensor, got a {type(value).__name__}')
            ours = replacement(match) if callable(replacement) else match.expand(replacement)
            renamed[ours + parameter] = value
    return renamed
