"""Fits weights to a model before they are loaded: a plan from names and shapes, as its modules load them."""
import re
import warnings
from collections.abc import Mapping
from logging import WARNING
from typing import Any, Literal, NamedTuple

from mmengine.logging import print_log
from torch import Tensor, nn

from ..backbones import Backbone
from ..errors import CheckpointError
from ..utils.finite import first_not_finite
from ..utils.names import is_in, names_of_parts
from ..utils.openmmlab_models import log_from, on_meta, unwrap_model
from .converters.library_layout import shortened
from .foreign_names import describe_names
from .state_dicts import find_prefixes

MAX_UNEXPECTED_KEYS = 5  # a few stale buffers do not mean that a checkpoint is for another network
COUNTER = 'num_batches_tracked'  # PyTorch before 0.4.1 did not save it
OUTPUT_NORM = r'norm\d+\.\w+'  # in a backbone
# Of classifiers, and of the models of fine-tunings: their shapes follow from the number of classes.
LAST_LAYERS = ('head', 'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg', 'roi_head.mask_head.conv_logits',
               *(f'decode_head.layers.{level}.2' for level in range(16)))
Part = Literal['all', 'all but the last layers', 'the backbone']


class Fit(NamedTuple):
    """What weights bring to a model.

    Args:
        loaded (list[str]): Names of the model's weights and buffers that get values.
        new (list[str]): Those that keep their initial values, because the weights lack them or have other shapes.
        dropped (list[str]): Names that the model lacks.
    """

    loaded: list[str]
    new: list[str]
    dropped: list[str]

    def describe(self, source: str) -> str:
        """Returns the line that says what the weights of a source bring."""
        share = f'{len(self.loaded)} of {len(self.loaded) + len(self.new)} weights and buffers'
        parts = {'not in the model': self.dropped, 'new': self.new}
        return f'weights from {source}: {share}' + ''.join(
            f'; {what}: {shortened(names_of_parts(names, self.loaded))}' for what, names in parts.items() if names)


def match(model: nn.Module, weights: Mapping[str, Tensor]) -> Fit:
    """Returns what weights bring to a model, whose modules may rename, resize or ignore them on load.

    The model, which may be inside wrappers, keeps its values: a copy without memory loads the weights.

    Raises:
        ValueError: If a table of positions cannot be resized.
    """
    model = unwrap_model(model)
    own = model.state_dict()
    missing, dropped, misfits = [], [], []

    def note(_: nn.Module, keys: Any) -> None:
        missing.extend(keys.missing_keys)
        dropped.extend(keys.unexpected_keys)

    shapes, theirs = ({name: getattr(x, 'shape', None) for name, x in each.items()} for each in (own, weights))
    if shapes != theirs:  # otherwise, every module finds what it needs
        copied = on_meta(model)
        copied.register_load_state_dict_post_hook(note)
        with warnings.catch_warnings(), log_from(WARNING):
            warnings.simplefilter('ignore')  # of values that a copy without memory does not take
            try:
                copied.load_state_dict(dict(weights), strict=False)
            except RuntimeError as error:
                misfits = re.findall(r'size mismatch for (\S+):', str(error))
    new = {*missing, *misfits}
    names = [name for name in own if not name.endswith(COUNTER)]
    return Fit([name for name in names if name not in new], [name for name in names if name in new], dropped)


def in_backbone(name: str) -> bool:
    """Returns whether a weight is in the backbone of a model, or of one that a model holds, such as a teacher."""
    return 'backbone' in name.split('.')[:-1]


def fit(model: nn.Module, weights: Mapping[str, Tensor], part: Part, source: str) -> Fit:
    """Returns what weights bring to a model (:func:`plan`), of which ``part`` must not stay random.

    Of all, what a network of this package may lack may be new (:func:`optional_in`). Last layers may be where the
    weights have none, or those of another number of classes. In the backbone, what has a constant initial value may,
    such as a norm or the offsets of a deformable convolution. The log says what is new.

    Args:
        model (nn.Module): The model.
        weights (Mapping): State dict.
        part (str): What the weights must bring.
        source (str): Name of the checkpoint for messages.

    Raises:
        CheckpointError: If more is new, or a weight is no tensor, NaN or infinite.
    """
    own = unwrap_model(model).state_dict()
    for name, value in own.items():  # which also has the extra state of modules
        if isinstance(value, Tensor) and not isinstance(weights.get(name, value), Tensor):
            kind = type(weights[name]).__name__
            raise CheckpointError(f'checkpoint {source}: {name} must be a tensor, got a {kind}')
    check_finite({name: weights[name] for name in own.keys() & weights.keys()}, source)
    try:
        found = match(model, weights)
    except ValueError as error:  # a table of positions cannot be resized
        raise CheckpointError(f'checkpoint {source} cannot be loaded: {error}') from error
    if not found.loaded:
        raise no_match(model, weights, source)
    unknown = [name for name in found.dropped if not re.fullmatch(rf'(.*\.)?{OUTPUT_NORM}', name)]
    is_headless = not any(is_in(name, LAST_LAYERS) for name in own.keys() & weights.keys())
    last = {name for name in found.new if is_in(name, LAST_LAYERS) and (
        weights[name].shape[:1] and weights[name].shape[1:] == own[name].shape[1:] if name in weights else is_headless)}
    if part == 'the backbone':
        needed = [name for name in found.new if in_backbone(name) and not is_constant(own[name])]
        unknown = [name for name in unknown if in_backbone(name)]
    else:
        optional = optional_in(model, weights) | (set() if part == 'all' else last)
        needed = [name for name in found.new if name not in optional]
    if needed and all(name in last and name.startswith('head.') for name in needed):
        got = 'no classifier' if is_headless else f'{len(weights[needed[0]])} classes'
        count = len(own[needed[0]])
        raise CheckpointError(f'checkpoint {source} has {got}, but the model has {count} classes: get_model(..., '
                              f"num_classes={count}) makes an untrained classifier, task='backbone' none")
    if needed:
        shapes = [f'{name} is {list(weights[name].shape)} in place of {list(own[name].shape)}' for name in needed
                  if name in weights]
        raise other_network(source, f'{len(needed)} of {len(own)} weights would stay random, which no option allows',
                            shapes[:1] or names_of_parts(needed, found.loaded)[:5])
    if len(unknown) > MAX_UNEXPECTED_KEYS:
        raise other_network(source, f'{len(unknown)} keys are unknown', unknown[:2])
    if part == 'the backbone' or found.new or found.dropped:
        print_log(found.describe(source), 'current')
    return found


def optional_in(model: nn.Module, weights: Mapping[str, Tensor]) -> set[str]:
    """Returns the names that files for the backbones in a model may lack.

    This is the rest of the output norms, if the file has some, and what the network calls optional, if the file has
    nothing of it: what detectors, or this network alone among related ones, add.
    """
    found = set()
    for name, backbone in unwrap_model(model).named_modules():
        prefix = f'{name}.' if name else ''
        kinds = [(OUTPUT_NORM, True), *((kind, False) for kind in backbone.optional)] if isinstance(
            backbone, Backbone) else []
        for kind, if_given in kinds:
            pattern = re.compile(re.escape(prefix) + kind)
            if any(map(pattern.fullmatch, weights)) == if_given:
                found |= {key for key, _ in backbone.named_parameters(prefix=name)
                          if key not in weights and pattern.fullmatch(key)}
    return found


def is_constant(value: object) -> bool:
    """Returns whether all elements of a tensor are equal, as of a norm before a training; True for other objects."""
    return not isinstance(value, Tensor) or not value.numel() or bool((value == value.flatten()[0]).all())


def check_finite(weights: Mapping, source: str) -> None:
    """Raises CheckpointError if a tensor of the checkpoint ``source`` has NaN or inf, as after a loss that was NaN."""
    if found := first_not_finite(weights):
        raise CheckpointError(f'checkpoint {source} cannot be used: {found}, as after a training that diverged')


def other_network(source: str, counts: str, examples: list[str]) -> CheckpointError:
    return CheckpointError(f'checkpoint {source} is for another network: {counts} ({", ".join(examples)}, ...)')


def no_match(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> CheckpointError:
    """Returns the error for a checkpoint of which a model would load nothing."""
    own = unwrap_model(model).state_dict()
    prefixes = find_prefixes(weights, own)
    hint = f' (prefix {prefixes[0]!r}?)' if prefixes else ''
    expected = next(name for name in own if name not in weights)
    other = next((name for name in weights if name not in own), None)
    got = f'got {other!r}' if other else 'but the checkpoint has no weights'
    return CheckpointError(f'checkpoint {source} is for another network: its keys do not match {type(model).__name__}; '
                           f'expected {expected!r}, {got}{hint or describe_names(weights.keys() - own.keys())}')
