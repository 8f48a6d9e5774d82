"""Make mmengine load checkpoints safely, and check that a checkpoint belongs to a model."""
from collections import OrderedDict
from collections.abc import Sequence

from mmengine.dist import barrier, is_main_process
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_external_models, get_torchvision_models
from torch import nn

from ..checkpoints.files import load_checkpoint_file
from ..models import recognise
from .config import UsageError

# A few left-over buffers do not make a checkpoint another network's.
MAX_UNEXPECTED_KEYS = 5

_ADDRESS_LISTS = {
    'torchvision': get_torchvision_models,
    'modelzoo': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
}


def use_safe_loading() -> None:
    """Let mmengine load all checkpoints through `load_from_safe`; its own loaders may unpickle any code."""
    schemes = ['http', 'https', 'mmcls', 'pavi', *_ADDRESS_LISTS]
    storages = [r'(\S+\:)?s3://', r'(\S+\:)?petrel://']
    CheckpointLoader.register_scheme(
        ['', *(f'{scheme}://' for scheme in schemes), *storages], load_from_safe, force=True)


def load_from_safe(filename: str, map_location: str | None = None) -> dict:
    """Load a checkpoint of weights only from a file, an http(s) address or a name such as torchvision://..."""
    # The first process downloads, the others find the file. A local file may be read by one process alone.
    is_download = _resolve(filename).startswith('http')
    if is_download and not is_main_process():
        barrier()
    checkpoint = read_checkpoint(filename, map_location=map_location)
    if is_download and is_main_process():
        barrier()
    return as_ours(checkpoint)


def read_checkpoint(filename: str, map_location: str | None = 'cpu', mmap: bool = False) -> dict:
    """Call `load_checkpoint_file` and turn what is wrong with the file into a UsageError."""
    try:
        return load_checkpoint_file(_resolve(filename), map_location, mmap)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error


def as_ours(checkpoint: dict) -> dict:
    """Convert the authors' checkpoint of a classifier; any other comes back as it is."""
    try:
        return dict(state_dict=recognise(checkpoint))
    except ValueError:
        return checkpoint


def check_checkpoint(filename: str) -> dict | None:
    """Raise a UsageError if a checkpoint file is missing or bad, else return what it holds, to be looked at.

    Names that others resolve are left to them: there is nothing to return.
    """
    filename = filename.removeprefix('official://')
    if '://' not in filename or filename.startswith('http'):
        return read_checkpoint(filename, mmap=True)
    return None


def weights_of(checkpoint: dict) -> OrderedDict:
    """Return the weights in a checkpoint, by their names in the model."""
    weights = checkpoint.get('state_dict', checkpoint)
    return OrderedDict((key.removeprefix('module.'), value) for key, value in weights.items())


def load_matching(model: nn.Module, checkpoint: dict, name: str) -> None:
    """Load a checkpoint into a model, or raise a UsageError if it is that of another network."""
    model = _unwrap(model)
    try:
        keys = model.load_state_dict(weights_of(checkpoint), strict=False)
    except RuntimeError as error:
        shapes = [line.strip() for line in str(error).split('\n') if 'size mismatch' in line]
        raise _other_network(name, f'{len(shapes)} shapes differ', shapes[:1]) from error
    missing = [key for key in keys.missing_keys if not key.endswith('num_batches_tracked')]
    unexpected = keys.unexpected_keys
    if missing or len(unexpected) > MAX_UNEXPECTED_KEYS:
        counts = f'{len(missing)} weights of the model are missing, {len(unexpected)} are unknown to it'
        raise _other_network(name, counts, [*missing[:2], *unexpected[:2]])


def check_overlap(model: nn.Module, checkpoint: dict, name: str) -> None:
    """Raise a UsageError if no weight in a checkpoint has a name that the model knows."""
    expected, given = _unwrap(model).state_dict().keys(), weights_of(checkpoint).keys()
    if not expected & given:
        raise _other_network(name, f'none of its {len(given)} weights is in the model', [*list(given)[:2]])


def _other_network(name: str, counts: str, examples: Sequence[str]) -> UsageError:
    return UsageError(f'checkpoint {name} is of another network: {counts} ({", ".join(examples)}, ...)')


def _unwrap(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _resolve(filename: str) -> str:
    scheme, separator, name = filename.partition('://')
    if not separator or scheme in ('http', 'https'):
        return filename
    addresses = _ADDRESS_LISTS[scheme]() if scheme in _ADDRESS_LISTS else {}
    if not addresses.get(name, '').startswith('http'):
        raise UsageError(f'checkpoint {filename} cannot be loaded: give a file or an http(s) address')
    return addresses[name]
