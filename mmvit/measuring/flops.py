"""Counts the parameters and multiply-adds of networks, or their kernels, memory traffic and peak memory."""
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from mmengine.registry import MODELS

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.building import import_mmpretrain
from mmvit_backbones.zoo.variants import VARIANTS, find_names

from ..utils.counters import count, count_macs

Task = Literal['classification', 'backbone']
DTYPES = 'bfloat16', 'float16', 'float32'


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


def count_traffic(networks: Sequence[str], size: int | Sequence[int] = (224, 224), batch_size: int = 64,
                  dtype: str = 'bfloat16', task: Task = 'classification', with_cp: bool = False) -> list[dict]:
    """Counts the kernels, bytes moved and peak memory of a forward pass and of a training step of networks.

    The networks run on PyTorch's meta device, which computes nothing (see :func:`counters.count`).

    Args:
        networks (Sequence[str]): Names or shell patterns.
        size (int | Sequence[int]): As in :func:`count_flops`. Defaults to (224, 224).
        batch_size (int): Images per batch. Defaults to 64.
        dtype (str): Dtype of weights and activations: ``'bfloat16'``, ``'float16'`` or ``'float32'``. Defaults to
            ``'bfloat16'``.
        task (str): As in :func:`count_flops`. Defaults to ``'classification'``.
        with_cp (bool): Whether to use activation checkpointing. Defaults to False.

    Returns:
        list[dict]: Two rows of a table per network, with the ``network``, the ``pass`` (``'forward'``, or ``'step'`` of
        a training), ``kernels``, ``moved_gb``, ``peak_gb`` and, of a step, ``saved_gb``; 1 GB is 1e9 bytes.

    Raises:
        UsageError: As in :func:`count_flops`, or if ``dtype`` is unknown.
    """
    names, sides = check(networks, task), height_and_width(size)
    if dtype not in DTYPES:
        raise UsageError(f'dtype must be one of {", ".join(DTYPES)}, got {dtype}')
    rows = []
    for name in names:
        config = VARIANTS[name].model_config(task, with_cp=with_cp)
        del config.get('backbone', config)['drop_path_rate']  # the network's default
        with torch.device('meta'), torch.inference_mode(False), torch.enable_grad():
            images = torch.empty(batch_size, 3, *sides, dtype=getattr(torch, dtype))
            model = MODELS.build(config).to(images.dtype)
            counted = count(model, images)
        for part in 'forward', 'step':
            kernels = counted[part].pop('kernels')
            sizes = {f'{key}_gb': round(value / 1e9, 2) for key, value in counted[part].items()}
            rows.append({'network': name, 'pass': part, 'kernels': kernels, **sizes})
    return rows


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
