"""Starts a recipe from the whole model of another training, where only the backbone's weights would come otherwise."""
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Size, Tensor

from mmvit_backbones.utils.classes import classes_of
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.reading import find_checkpoint

from ..utils.frameworks import build_model, quiet, use_framework

START = 'start.pth'  # beside a recipe: the weights of another training without the last layers


def find_start(source: str, model: Mapping[str, Size], other: Mapping[str, Size], classes: Sequence[str],
               folder: str) -> str | None:
    """Returns the checkpoint from which a whole model starts, or None if a file is no training of the same model.

    If its classes have other names, the file ``start.pth`` without the last layers is written.

    Args:
        source (str): Checkpoint, or work dir of a training.
        model (Mapping): Names and shapes of the model's weights (:func:`shapes_of`).
        other (Mapping): Those of the same model for another number of classes; what differs are the last layers.
        classes (Sequence[str]): Names of the classes.
        folder (str): Folder for ``start.pth``.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    if '://' in source or not os.path.exists(source):
        return None
    checkpoint = read_checkpoint(source)
    weights, last = checkpoint.get('state_dict', {}), {name for name in model if model[name] != other.get(name)}
    if 'meta' not in checkpoint or weights.keys() != model.keys():
        return None
    if any(not isinstance(x, Tensor) or x.shape != model[name] for name, x in weights.items() if name not in last):
        return None
    if classes_of(checkpoint['meta'].get('dataset_meta')) == tuple(classes):
        return find_checkpoint(source)
    file = Path(folder, START)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(file) as part:
        torch.save(dict(state_dict={name: x for name, x in weights.items() if name not in last}), part)
    return str(file)


def shapes_of(cfg: Config) -> dict[str, Size]:
    """Returns the names and shapes of the weights of a config's model, which is built without weights."""
    use_framework(cfg.default_scope)
    with quiet(), torch.no_grad():
        try:
            with torch.device('meta'):
                model = build_model(Config(cfg.to_dict()))
        except (RuntimeError, NotImplementedError):  # such as mmdet's Swin, which reads values of tensors
            model = build_model(Config(cfg.to_dict()))
    return {name: x.shape for name, x in model.state_dict().items()}
