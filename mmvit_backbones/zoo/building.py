"""Builds models by name."""
import io
import os
from contextlib import redirect_stdout
from typing import Literal

from mmengine.model import BaseModule
from mmengine.registry import MODELS

from ..utils.installation import install_command
from ..utils.openmmlab_models import init_weights
from .loading import check_task, load_variant
from .settings import setting
from .source import Weights, open_weights
from .variants import Variant, find_variant, official_name


def get_model(name: str, task: Literal['classification', 'backbone'] = 'classification',
              checkpoint: str | os.PathLike | None = None, pretrained: bool | str = False,
              num_classes: int | None = None, in_channels: int = 3, img_size: int | None = None,
              prefix: str | None = None, **backbone_overrides) -> BaseModule:
    """Builds a published network.

    Args:
        name (str): One of :func:`list_models`.
        task (str): ``'classification'`` builds an mmpretrain ``ImageClassifier``: ``model(images)`` returns logits
            ``(B, num_classes)``, and ``model.backbone`` is the backbone. ``'backbone'`` builds the bare backbone.
            Defaults to ``'classification'``.
        checkpoint (str | os.PathLike | None): File or URL of a checkpoint in the authors' layout or in this package's;
            the layout is recognized by the checkpoint's keys.
        pretrained (bool | str): True for the authors' default weights, or the tag of other weights: ``'384'``,
            ``'22k'``, or ``'mask_rcnn_3x'`` if ``task='backbone'``, with the backbone's arguments of this detector.
            Weights are downloaded once, checked and cached. Defaults to False.
        num_classes (int | None): Number of classes. If the checkpoint has a different number, the model gets a new
            head. Defaults to None: 1000 classes; checkpoints with a different number are refused.
        in_channels (int): Number of image channels. As in timm, weights for RGB images are summed over the channels if
            ``in_channels`` is 1, and repeated and rescaled for other numbers. Defaults to 3.
        img_size (int | None): Side of the images for which the position embedding is created, in pixels. The embedding
            is resized for images of other sizes. Networks without a position embedding ignore the argument. Defaults
            to None: the paper's size.
        prefix (str | None): Prefix of the names in ``checkpoint``, such as ``'teacher.'``, if it holds several models.
            Defaults to None: none, or ``'backbone.'``.
        backbone_overrides: Other arguments of the backbone, e.g. ``drop_path_rate=0.2`` instead of 0.

    Raises:
        ValueError: If an argument is invalid, or the checkpoint is unavailable or does not match the model.
        TypeError: If an argument is unknown or has the wrong type.
        ImportError: If ``task='classification'`` and mmpretrain is not installed.

    Example:
        >>> import torch, mmvit_backbones
        >>> backbone = mmvit_backbones.get_model('reswin_tiny', task='backbone').eval()
        >>> [x.shape[1] for x in backbone(torch.rand(1, 3, 32, 32))]
        [96, 192, 384, 768]
    """
    variant = find_variant(name)
    check_task(task)
    if checkpoint is not None and pretrained:
        raise ValueError(f'checkpoint and pretrained are mutually exclusive, got {checkpoint!r} and {pretrained!r}')
    if prefix and checkpoint is None:
        raise ValueError(f'prefix needs a checkpoint, got {prefix!r}')
    if num_classes is not None and (task == 'backbone' or num_classes < 1):
        raise ValueError("num_classes must be at least 1 and requires task='classification', got "
                         f'num_classes={num_classes} and task={task!r}')
    if img_size is not None and img_size < 1:
        raise ValueError(f'img_size must be at least 1, got {img_size}')
    if in_channels != 3:
        backbone_overrides['in_channels'] = in_channels
    source = official_name(variant, pretrained) if pretrained else None if checkpoint is None else str(checkpoint)
    weights = open_weights(source, variant)
    config = model_config(variant, task, num_classes or 1000, weights, img_size, **backbone_overrides)
    if task == 'classification':
        import_mmpretrain()
    model = MODELS.build(config)
    init_weights(model)
    load_variant(model, weights, num_classes is not None, prefix)
    return model


def model_config(variant: Variant, task: str, num_classes: int = 1000, weights: Weights | None = None,
                 img_size: int | None = None, **backbone_overrides) -> dict:
    """Returns the config of the mmpretrain classifier or of the bare backbone, depending on the task.

    The backbone's arguments are those of :func:`.setting` for the weights and ``img_size``, unless they are given.
    """
    found = setting(variant, 'classification', weights, img_size)
    if task == 'backbone':
        return {**found.backbone, **backbone_overrides}
    family = variant.family
    mean, std, to_rgb = found.images.mean, found.images.std, found.images.to_rgb
    if (channels := backbone_overrides.get('in_channels', 3)) != 3:  # not RGB: all channels get the average
        mean, std, to_rgb = [sum(mean) / 3] * channels, [sum(std) / 3] * channels, False
    return dict(
        _scope_='mmpretrain',  # the default scope of the process may be different
        type='ImageClassifier',
        data_preprocessor=dict(mean=mean, std=std, to_rgb=to_rgb, num_classes=num_classes),
        backbone={**found.backbone, **family.classifier, **backbone_overrides},
        neck=variant.neck_config(variant.head_channels),
        head={**family.head, **variant.head, 'num_classes': num_classes, 'in_channels': variant.head_channels})


def import_mmpretrain() -> None:
    """Registers mmpretrain's models; raises ImportError if mmpretrain cannot be imported."""
    try:
        with redirect_stdout(io.StringIO()):  # mmpretrain prints which optional dependencies are missing
            import mmpretrain.models  # noqa: F401
    except ImportError as error:
        raise ImportError(f"task='classification' needs mmpretrain: {install_command('mmpretrain')}, or use "
                          "task='backbone'") from error
