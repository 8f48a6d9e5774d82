"""Models by name."""
import logging
import sys
from contextlib import redirect_stdout

from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS

from .checkpoints.loading import check_task, load_published_or_own
from .zoo import find_variant


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
        load_published_or_own(model, name, checkpoint, task)
    return model


def init_weights(model: BaseModule) -> None:
    """Initializes without MMEngine's three lines for every parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def import_mmpretrain() -> None:
    """Registers mmpretrain's models."""
    try:
        with redirect_stdout(sys.stderr):  # it prints what optional parts it lacks, which is no result of a tool
            import mmpretrain.models  # noqa: F401
    except ImportError as error:
        raise ImportError("task='classification' needs mmpretrain: pip install 'mmvit_backbones[cls]', or use "
                          "task='backbone'") from error
