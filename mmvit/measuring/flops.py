"""Counts the parameters and multiply-adds of networks."""
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from mmengine.registry import MODELS

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.zoo.building import import_mmpretrain, model_config
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.variants import VARIANTS, find_names

from ..utils.counters import count_macs

Task = Literal['classification', 'backbone']


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


def count_flops(networks: Sequence[str], size: int | Sequence[int] | None = None, task: Task = 'classification'
                ) -> list[Flops]:
    """Counts the parameters and multiply-adds of networks on PyTorch's meta device, which computes nothing.

    The multiply-adds of convolutions and matrix products are counted, including attention. Papers usually report this
    number as FLOPs. Norms, activations and additions are not counted.

    Args:
        networks (Sequence[str]): Names or shell patterns.
        size (int | Sequence[int] | None): Side of the images, or height and width, in pixels. Defaults to None: the
            published size.
        task (str): ``'classification'``, or ``'backbone'`` for that of a detector, with all its maps. Defaults to
            ``'classification'``.

    Raises:
        UsageError: If a name or ``task`` is unknown, or mmpretrain is missing for a classifier.
    """
    variants = [VARIANTS[name] for name in find_names(networks)]
    if task not in get_args(Task):
        raise UsageError(f'task must be classification or backbone, got {task}')
    if task == 'classification':
        try:
            import_mmpretrain()
        except ImportError as error:
            raise UsageError(f'{error} (--backbone)') from None
    rows = []
    for variant in variants:
        height, width = height_and_width(variant.img_size if size is None else size)
        config = model_config(variant, task) if task == 'classification' else setting(variant, 'dense').backbone
        with torch.device('meta'):
            model = MODELS.build(config).eval()
            images = torch.empty(1, 3, height, width)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        try:
            rows.append(Flops(variant.name, height, width, parameters, round(count_macs(model, images), 3)))
        except ValueError as error:  # of a size that the network does not take
            raise UsageError(f'{variant.name}: {error}') from error
    return rows
