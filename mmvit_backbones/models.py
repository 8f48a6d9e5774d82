"""Models by name: building, loading and converting checkpoints."""
import logging
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout

from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from .checkpoints import load_checkpoint_file
from .checkpoints.layout import unwrap
from .zoo import VARIANTS, find_variant

TASKS = ('classification', 'backbone')


def get_model(name: str, task: str = 'classification', checkpoint: str | None = None,
              **backbone_overrides) -> BaseModule:
    """Builds a published network.

    Args:
        name (str): One of :func:`list_models`.
        task (str): ``'classification'``, an mmpretrain ``ImageClassifier`` whose ``model(images)`` gives logits
            ``(B, 1000)`` and whose ``model.backbone`` is the backbone; or ``'backbone'``, the bare backbone.
        checkpoint (str | None): File or address of the authors' weights or of ours, told apart by their keys.
        backbone_overrides: Arguments of the backbone, e.g. ``drop_path_rate=0.2``.

    Raises:
        ValueError: If name, task or an argument is unknown, or the checkpoint does not fit.

    Example:
        >>> import torch, mmvit_backbones
        >>> backbone = mmvit_backbones.get_model('reswin_tiny', task='backbone').eval()
        >>> [x.shape[1] for x in backbone(torch.rand(1, 3, 32, 32))]
        [96, 192, 384, 768]
    """
    variant = find_variant(name)
    check_task(task)
    config = variant.model_config(task, **backbone_overrides)
    if task == 'classification':
        import_mmpretrain()
    model = MODELS.build(config)
    init_weights(model)
    if checkpoint is not None:
        load_checkpoint(model, name, checkpoint, task)
    return model


def init_weights(model: BaseModule) -> None:
    """Initialises without MMEngine's three lines for every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def convert_state_dict(name: str, state_dict: Mapping, task: str = 'classification') -> dict[str, Tensor]:
    """Renames the authors' weights to ours.

    Args:
        name (str): One of :func:`list_models`.
        state_dict (Mapping): The authors' checkpoint, wrapped in a training state or not.
        task (str): ``'classification'`` or ``'backbone'``, which leaves the classifier's tensors out.

    Returns:
        dict[str, Tensor]: What ``get_model(name, task).load_state_dict(..., strict=True)`` takes.

    Raises:
        KeyError: If a key is unknown; the message names it.
    """
    check_task(task)
    return for_task(find_variant(name).convert(state_dict), task)


def for_task(state_dict: Mapping, task: str) -> dict[str, Tensor]:
    """A classifier's weights, or those of its backbone alone."""
    if task == 'classification':
        return dict(state_dict)
    return {key.removeprefix('backbone.'): value for key, value in state_dict.items() if key.startswith('backbone.')}


def load_checkpoint(model: BaseModule, name: str, path: str, task: str) -> None:
    """Loads the authors' checkpoint or ours into a model of :func:`get_model`, strictly."""
    checkpoint = load_checkpoint_file(path)
    try:
        state_dict = convert_state_dict(name, checkpoint, task)
    except KeyError as error:
        state_dict = own_weights(checkpoint, task)
        if 2 * len(state_dict.keys() & model.state_dict().keys()) < len(state_dict):
            raise ValueError(f'checkpoint {path} is none of {name}, neither published nor ours: '
                             f'{error.args[0]}') from None
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        details = '; '.join(line.strip() for line in str(error).splitlines()[1:])
        raise ValueError(f'checkpoint {path} does not fit {name}: {details[:600]}') from None


def own_weights(checkpoint: Mapping, task: str) -> dict[str, Tensor]:
    """Weights that our tools saved: of a bare backbone, or of a whole model, of which a backbone takes its part."""
    weights = unwrap(checkpoint, ('state_dict', ))
    is_whole_model = any(key.startswith('backbone.') for key in weights)
    return for_task(weights, task) if is_whole_model else weights


def recognise(checkpoint: Mapping) -> dict[str, Tensor]:
    """Converts the authors' weights of any family, told by their keys.

    Raises:
        ValueError: If no family has these keys; the message names one that each does not know.
    """
    if not checkpoint:
        raise ValueError('the file holds no weights')
    reasons = []
    for convert in dict.fromkeys(variant.convert for variant in VARIANTS.values()):
        try:
            return convert(checkpoint)
        except KeyError as error:
            reasons.append(error.args[0])
    raise ValueError('not a published checkpoint of any network here: ' + '; '.join(reasons))


@CheckpointLoader.register_scheme(prefixes='official://', force=True)
def load_official(filename: str, map_location: str | None = None, logger: str = 'current') -> dict[str, Tensor]:
    """Serves ``init_cfg=dict(type='Pretrained', checkpoint='official://PATH')`` of a backbone."""
    path = filename.removeprefix('official://')
    try:
        state_dict = recognise(load_checkpoint_file(path))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    return for_task(state_dict, 'backbone')


def check_task(task: str) -> None:
    if task not in TASKS:
        raise ValueError(f'task must be one of {TASKS}, got {task!r}')


def import_mmpretrain() -> None:
    """Registers mmpretrain's models."""
    try:
        with redirect_stdout(sys.stderr):  # it prints what optional parts it lacks, which is no result of a tool
            import mmpretrain.models  # noqa: F401
    except ImportError as error:
        raise ImportError("task='classification' needs mmpretrain: pip install 'mmvit_backbones[cls]', or use "
                          "task='backbone'") from error
