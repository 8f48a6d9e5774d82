"""Says what weights bring to a model before they are loaded: a plan from names and shapes, as its modules load them."""
import re
import warnings
from collections.abc import Mapping
from logging import WARNING
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from ..errors import CheckpointError
from ..utils.initialization import loads_weights
from ..utils.names import is_in, names_of_parts
from ..utils.openmmlab_models import log_from, on_meta, unwrap_model
from .foreign_names import describe_names
from .state_dicts import find_prefixes

Part = Literal['all', 'all but the last layers', 'the backbone']
# Of the models of fine-tunings: their shapes follow from the number of classes.
LAST_LAYERS = ('head', 'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg', 'roi_head.mask_head.conv_logits',
               *(f'decode_head.layers.{level}.2' for level in range(16)))
MAX_UNEXPECTED_KEYS = 5  # a few stale buffers do not mean that a checkpoint is for another network
COUNTER = 'num_batches_tracked'  # PyTorch before 0.4.1 did not save it


class Fit(NamedTuple):
    """What weights bring to a model.

    Args:
        loaded (list[str]): Names of the model's weights and buffers that get values.
        new (list[str]): Those that keep their initial values, because the weights lack them or have other shapes.
        dropped (list[str]): Names that the model lacks.
        resized (list[str]): Names of those loaded whose shapes differ, such as tables of positions.
    """

    loaded: list[str]
    new: list[str]
    dropped: list[str]
    resized: list[str]

    @property
    def new_parts(self) -> list[str]:
        """Returns the names of the modules, and else of the weights, that are new as a whole."""
        return names_of_parts(self.new, self.loaded)

    def describe(self, source: str) -> str:
        """Returns the line that says what the weights of a source bring."""
        share = f'{len(self.loaded)} of {len(self.loaded) + len(self.new)} weights and buffers'
        return f'weights from {source}: {share}' + (f'; new: {", ".join(self.new_parts)}' if self.new else '')


def plan(model: nn.Module, weights: Mapping[str, Tensor]) -> Fit:
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

    shapes = {name: getattr(x, 'shape', None) for name, x in own.items()}
    theirs = {name: getattr(x, 'shape', None) for name, x in weights.items()}
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
    return Fit([name for name in names if name not in new], [name for name in names if name in new], dropped,
               [name for name in names if name not in new and name in theirs and theirs[name] != shapes[name]])


def in_backbone(name: str) -> bool:
    """Returns whether a weight is in the backbone of a model, or of one that a model holds, such as a teacher."""
    return 'backbone' in name.split('.')[:-1]


def fit(model: nn.Module, weights: Mapping[str, Tensor], part: Part, source: str) -> Fit:
    """Returns what weights bring to a model (:func:`plan`), of which ``part`` must not stay random.

    What is new in the backbone may only have a constant initial value, such as a norm or the offsets of a deformable
    convolution.

    Args:
        model (nn.Module): The model.
        weights (Mapping): State dict.
        part (str): What the weights must bring.
        source (str): Name of the checkpoint for messages.

    Raises:
        CheckpointError: If more is new.
    """
    try:
        found = plan(model, weights)
    except ValueError as error:  # a table of positions cannot be resized
        raise CheckpointError(f'checkpoint {source} cannot be loaded: {error}') from error
    if not found.loaded:
        raise no_match(model, weights, source)
    own = unwrap_model(model).state_dict()
    needed = [name for name in found.new if part == 'all' or part == 'all but the last layers'
              and not is_in(name, LAST_LAYERS)]
    if part == 'the backbone' and not (has_own_weights(model) and not any(map(in_backbone, found.loaded))):
        needed = [name for name in found.new if in_backbone(name) and not is_constant(own[name])]
    if needed:
        raise other_network(source, f'{len(needed)} of {len(own)} weights would stay random, which no option allows',
                            names_of_parts(needed, found.loaded))
    unknown = [name for name in found.dropped if in_backbone(name)]
    if len(unknown) > MAX_UNEXPECTED_KEYS:
        raise other_network(source, f'{len(unknown)} keys are unknown', unknown[:2])
    return found


def has_own_weights(model: nn.Module) -> bool:
    """Returns whether a part of a model loads weights when it is initialized or built."""
    return any(loads_weights(getattr(module, 'init_cfg', None)) or getattr(module, 'pretrained', None)
               for module in model.modules())


def is_constant(value: object) -> bool:
    """Returns whether all elements of a tensor are equal, as of a norm before a training; True for other objects."""
    return not isinstance(value, Tensor) or not value.numel() or bool((value == value.flatten()[0]).all())


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
