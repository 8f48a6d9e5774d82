"""Starts a recipe from the whole model of another training, where only the backbone's weights would come otherwise."""
import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from torch import Size, Tensor

from mmvit_backbones.utils.classes import classes_of
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.reading import find_checkpoint

from ..utils.frameworks import quiet, use_framework
from .networks import call_unweighted

START = 'start.pth'  # beside a recipe: the weights of another training without the last layers


class Start(NamedTuple):
    """The checkpoint from which a model starts, and whether it has all layers or all but the last ones."""

    file: str
    is_whole: bool


def find_start(source: str, cfg: Config, one_more: Config, classes: Sequence[str], folder: str) -> Start | None:
    """Returns the checkpoint from which a whole model starts, or None if a file is no training of the same model.

    If its classes have other names, the file ``start.pth`` without the last layers is written.

    Args:
        source (str): Checkpoint, or work dir of a training.
        cfg (Config): The recipe.
        one_more (Config): The recipe for one more class; layers whose shapes differ are the last ones.
        classes (Sequence[str]): Names of the classes.
        folder (str): Folder for ``start.pth``.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    if '://' in source or not os.path.exists(source):
        return None
    checkpoint = read_checkpoint(source)
    weights = checkpoint.get('state_dict', {})
    if 'meta' not in checkpoint or weights.keys() != (model := shapes_of(cfg)).keys():
        return None
    other = shapes_of(one_more)
    last = {name for name in model if model[name] != other[name]}
    if any(not isinstance(x, Tensor) or x.shape != model[name] for name, x in weights.items() if name not in last):
        return None
    if classes_of(checkpoint['meta'].get('dataset_meta')) == tuple(classes):
        return Start(find_checkpoint(source), is_whole=True)
    file = Path(folder, START)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(file) as part:
        torch.save(dict(state_dict={name: x for name, x in weights.items() if name not in last}), part)
    return Start(str(file), is_whole=False)


def shapes_of(cfg: Config) -> dict[str, Size]:
    """Returns the names and shapes of the weights of a config's model, which is built without weights."""
    use_framework(cfg.default_scope)
    with quiet():
        return call_unweighted(deepcopy(cfg.model),  # which detectors change
                             lambda model: {name: x.shape for name, x in model.state_dict().items()})
