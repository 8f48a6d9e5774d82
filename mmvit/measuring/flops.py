"""Counts the parameters and multiply-adds of networks."""
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from mmengine.registry import MODELS

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.building import import_mmpretrain
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
        published_gmacs (float | None): The published number for a classifier at this image size.
    """

    name: str
    height: int
    width: int
    parameters: int
    gmacs: float
    published_gmacs: float | None


def count_flops(networks: Sequence[str], size: int | Sequence[int] | None = None, task: Task = 'classification'
                ) -> list[Flops]:
    """Counts the parameters and multiply-adds of networks on PyTorch's meta device, which computes nothing.

    The multiply-adds of convolutions and matrix products are counted, including attention. Papers usually report this
    number as FLOPs. Norms, activations and additions are not counted.

    Args:
        networks (Sequence[str]): Names or shell patterns.
        size (int | Sequence[int] | None): Side of the images, or height and width, in pixels. Defaults to None: the
            published size.
        task (str): ``'classification'``, or ``'backbone'`` for a backbone with all its maps. Defaults to
            ``'classification'``.

    Raises:
        UsageError: If a name or ``task`` is unknown, or mmpretrain is missing for a classifier.
    """
    return [flops_of(name, size, task) for name in check(networks, task)]


def check(networks: Sequence[str], task: str) -> list[str]:
    """Returns the names of the networks, if they can be built for the task."""
    names = find_names(networks)
    if task not in ('classification', 'backbone'):
        raise UsageError(f'task must be classification or backbone, got {task}')
    if task == 'classification':
        try:
            import_mmpretrain()
        except ImportError:
            raise UsageError(f'task classification needs mmpretrain: {install_command("mmpretrain")}; or count only '
                             'the backbone') from None
    return names


def flops_of(name: str, size: int | Sequence[int] | None, task: Task) -> Flops:
    variant = VARIANTS[name]
    height, width = height_and_width(variant.img_size if size is None else size)
    with torch.device('meta'):
        model = MODELS.build(variant.model_config(task)).eval()
        images = torch.empty(1, 3, height, width)
    published = variant.published_gmacs if task == 'classification' and height == width == variant.img_size else None
    return Flops(name, height, width, sum(p.numel() for p in model.parameters()),
                 round(count_macs(model, images), 3), published)
