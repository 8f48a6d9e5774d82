"""Says what belongs to the weights of a network in a task: arguments of the backbone, normalization and test resize.

``variants.yml`` has them by family, variant and tag of weights. Everything that builds a published network, or prepares
its images, asks :func:`setting`, which reads nothing.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal, get_args

from mmengine.registry import MODELS

from ..errors import UsageError
from ..utils.openmmlab_models import type_name
from .variants import VARIANTS, Normalization, Variant

Purpose = Literal['classification', 'dense']
ROOT_SCOPE = 'mmengine'  # where the backbones are registered; frameworks may have other classes of the same name


@dataclass(frozen=True)
class Resize:
    """How images of a classifier's test become squares.

    Args:
        side (int): Of the square, in pixels.
        crop_pct (float): The side divided by that of the resized image, whose border is cropped; above 1, a black
            border is added. Defaults to 0.875.
        interpolation (str): Defaults to ``'bicubic'``.
        squash (bool): Whether images are stretched to a square, instead of keeping their aspect ratio.
    """

    side: int
    crop_pct: float = 0.875
    interpolation: str = 'bicubic'
    squash: bool = False


@dataclass(frozen=True)
class Setting:
    """The config of a backbone, the normalization of its images, and their resize in the test of the classifier."""

    backbone: dict
    images: Normalization
    test: Resize


def setting(variant: Variant, task: Purpose = 'classification', weights: Any = None, img_size: int | None = None
            ) -> Setting:
    """Returns the setting of a network for a task, with given weights.

    Args:
        variant (Variant): The network.
        task (str): ``'classification'``, or ``'dense'`` for detectors and segmenters, whose arguments the weights of
            one bring for any task. Defaults to ``'classification'``.
        weights (Weights | None): See :func:`.open_weights`. Defaults to None: random weights.
        img_size (int | None): Side of the images for which a position embedding is created; networks without one ignore
            it. Defaults to None: that of the weights.

    Raises:
        UsageError: If ``task`` is unknown.
    """
    if task not in get_args(Purpose):
        raise UsageError(f'task must be one of {get_args(Purpose)}, got {task!r}')
    family, tag = variant.family, weights.tag if weights else ''
    backbone = dict(type=f'{ROOT_SCOPE}.{family.backbone}', arch=variant.arch, drop_path_rate=0.)
    backbone |= {**family.settings, **variant.settings}
    if task == 'dense' or weights and weights.is_dense:
        backbone |= {**family.dense, **variant.dense}
    for word in tag.split('_'):
        backbone |= family.options.get(word, {})
    side = img_size or (int(tag) if tag.isdigit() else variant.img_size)
    if side != variant.img_size and 'img_size' in signature(MODELS.module_dict[family.backbone]).parameters:
        backbone['img_size'] = side
    images = weights and weights.images or Normalization(family.mean, family.std)
    return Setting(backbone, images, Resize(side, **{**family.test, **variant.test, **family.tests.get(tag, {})}))


def variants_of(backbone: Mapping[str, Any], head: Mapping[str, Any]) -> list[Variant]:
    """Returns the networks that a config's backbone and head are of: those with their class, arch and settings.

    Several are left where only another head would tell.
    """
    own = [variant for variant in VARIANTS.values()
           if (variant.family.backbone, variant.arch) == (type_name(backbone), backbone.get('arch'))]
    settings = {key for each in own for key in (*each.settings, *each.dense)}
    heads = {key for each in own for key in each.head if type_name(head) == each.family.head['type']}
    return [each for each in own
            if (not heads or are_equal(heads, {**each.family.head, **each.head}, head))
            and any(are_equal(settings, setting(each, task).backbone, backbone) for task in get_args(Purpose))]


def are_equal(keys: Iterable[str], part: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether two parts of a class have equal arguments, given or by default; of stages, one stands for all."""
    kind: Any = MODELS.get(part['type'])
    defaults = signature(kind).parameters
    values = [(each.get(key, defaults[key].default) for each in (part, other)) for key in keys]
    return all(one == two for one, two in (map(as_one, pair) for pair in values))


def as_one(value: Any) -> tuple:
    """Returns a value for all stages, or the values of the stages if they differ."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value, )
    return values[:1] if len(set(values)) == 1 else values
