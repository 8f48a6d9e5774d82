"""Counts the parameters and multiply-adds of networks."""
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.zoo.building import import_mmpretrain, model_config
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.variants import VARIANTS, Variant, find_names

from ..inference import Predictor
from ..naming import kind_of, resolve
from .counters import count_macs

Counted = Literal['classification', 'backbone']


class Flops(NamedTuple):
    """The size of a network and the cost of an image.

    Attributes:
        name (str): Name of the network.
        height, width (int): Of the image, in pixels.
        parameters (int): Number of parameters.
        gmacs (float): Multiply-adds per image, in units of 1e9.
    """

    name: str
    height: int
    width: int
    parameters: int
    gmacs: float


def count_flops(networks: Sequence[str], size: int | Sequence[int] | None = None, task: Counted = 'classification'
                ) -> list[Flops]:
    """Counts the parameters and multiply-adds of networks on PyTorch's meta device, which computes nothing.

    The multiply-adds of convolutions and matrix products are counted, including attention. Papers usually report this
    number as FLOPs. Norms, activations and additions are not counted. Of a training, the prediction for an image of
    noise is counted, which a detector finds proposals in, but hardly an object.

    Args:
        networks (Sequence[str]): Names or shell patterns; or work dirs or checkpoints of trainings.
        size (int | Sequence[int] | None): Side of the images, or height and width, in pixels; for a training, before
            its test pipeline resizes them. Defaults to None: the published size, and 480 and 640 for a training.
        task (str): ``'classification'``, or ``'backbone'`` for that of a detector, with all its maps. Defaults to
            ``'classification'``.

    Raises:
        UsageError: If a name or ``task`` is unknown, or mmpretrain is missing for a classifier.
    """
    if task not in get_args(Counted):
        raise UsageError(f'task must be classification or backbone, got {task}')
    runs = [name for name in networks if kind_of(name) and resolve(name, 'flops') != 'network']
    if runs and task == 'backbone':
        raise UsageError(f'task=backbone (--backbone) is for networks, got the training {runs[0]}')
    names = [name for name in networks if name not in runs]
    return [*(count_network(VARIANTS[name], size, task) for name in (find_names(names) if names else ())),
            *(count_prediction(name, size) for name in runs)]


def count_network(variant: Variant, size: int | Sequence[int] | None, task: Counted) -> Flops:
    """Returns the figures of a network; see :func:`count_flops`."""
    if task == 'classification':
        try:
            import_mmpretrain()
        except ImportError as error:
            raise UsageError(f'{error}; or count task=backbone (--backbone)') from None
    height, width = height_and_width(variant.img_size if size is None else size)
    config = model_config(variant, task) if task == 'classification' else setting(variant, 'dense').backbone
    with torch.device('meta'):
        model = MODELS.build(config).eval()
        images = torch.empty(1, 3, height, width)
    try:
        return Flops(variant.name, height, width, count_parameters(model), round(count_macs(model, images), 3))
    except ValueError as error:  # of a size that the network does not take
        raise UsageError(f'{variant.name}: {error}') from error


def count_prediction(source: str, size: int | Sequence[int] | None) -> Flops:
    """Returns the figures of a training's model; see :func:`count_flops`."""
    height, width = height_and_width((480, 640) if size is None else size)
    predictor = Predictor(source, device='cpu')
    model: Any = predictor.model
    image = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    macs = count_macs(partial(predictor, image))
    return Flops(source, height, width, count_parameters(model.module), round(macs, 3))


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
