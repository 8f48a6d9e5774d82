"""Says what belongs to the weights of a network in a task: arguments of the backbone, normalization and test resize.

``variants.yml`` has them by family, variant and tag of weights. Everything that builds a published network, or prepares
its images, asks :func:`setting`.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from logging import WARNING
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from mmengine.logging import print_log
from mmengine.registry import MODELS

from ..errors import UsageError
from ..utils.openmmlab_models import type_name
from .download import fetch_url
from .hubs import images_of
from .reading import find_checkpoint, read_file
from .variants import VARIANTS, Normalization, Variant, published_by, task_of
from .weights import WEIGHTS

Task = Literal['classification', 'dense']
WEB = 'http://', 'https://'
ROOT_SCOPE = 'mmengine'  # where the backbones are registered; frameworks may have other classes of the same name
DETECTORS = 'mask_rcnn', 'retinanet'  # in tags
DETECTOR_HEADS = 'roi_head', 'bbox_head'  # in names of weights


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


class Origin(NamedTuple):
    """Where weights are from: their tag, and whether they are a detector's or segmenter's, and the authors' detector's.

    The tag of a file that is not published has the words of ``Family.options`` only.
    """

    tag: str
    is_dense: bool
    is_detector: bool


def setting(variant: Variant, task: Task = 'classification', weights: str | bool | None = None) -> Setting:
    """Returns the setting of a network for a task, with given weights.

    Args:
        variant (Variant): The network.
        task (str): ``'classification'``, or ``'dense'`` for detectors and segmenters, whose arguments the weights of
            one bring for any task. Defaults to ``'classification'``.
        weights (str | bool | None): True for the published weights; a tag; an ``official://`` name; a published URL; a
            file with the name that it has in the cache; another file or URL, which is read; or a name of another
            library. Defaults to None: random weights.

    Raises:
        UsageError: If ``task`` is unknown.
        CheckpointError: If there are no such weights, or the file cannot be read.
    """
    if task not in get_args(Task):
        raise UsageError(f'task must be one of {get_args(Task)}, got {task!r}')
    family, origin = variant.family, origin_of(variant, weights)
    backbone = dict(type=f'{ROOT_SCOPE}.{family.backbone}', arch=variant.arch, drop_path_rate=0.)
    backbone |= {**family.settings, **variant.settings}
    if task == 'dense' or origin.is_dense:
        backbone |= {**family.dense, **variant.dense}
    for word in origin.tag.split('_'):
        backbone |= family.options.get(word, {})
    side = int(origin.tag) if origin.tag.isdigit() else variant.img_size
    if side != variant.img_size and has_img_size(variant):
        backbone['img_size'] = side
    images = Normalization(family.mean, family.std)
    if origin.is_detector and family.detector_images:
        images = Normalization(**family.detector_images)
    if isinstance(weights, str):
        images = images_of(weights) or images
    test = {**family.test, **variant.test, **family.tests.get(origin.tag, {})}
    return Setting(backbone, images, Resize(side, **test))


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
            and any(are_equal(settings, setting(each, task).backbone, backbone) for task in get_args(Task))]


def are_equal(keys: Iterable[str], part: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Returns whether two parts of a class have equal arguments, given or by default; of stages, one stands for all."""
    defaults = signature(MODELS.get(part['type'])).parameters
    values = [(each.get(key, defaults[key].default) for each in (part, other)) for key in keys]
    return all(one == two for one, two in (map(as_one, pair) for pair in values))


def as_one(value: Any) -> tuple:
    """Returns a value for all stages, or the values of the stages if they differ."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value, )
    return values[:1] if len(set(values)) == 1 else values


def origin_of(variant: Variant, weights: str | bool | None) -> Origin:
    """Returns where weights are from; see :func:`setting` for what they can be."""
    if not weights:
        return Origin('', False, False)
    if published := published_by(weights) if isinstance(weights, str) else None:
        variant, weights = published
    if weights is True or weights in variant.weights:
        tag = variant.published_weights(weights).tag
    else:
        rows = [row for row in WEIGHTS.values() if weights in row.urls or Path(weights).name == row.file_name]
        own = next((row for row in rows if row.variant == variant.name), rows[0] if rows else None)
        if own is None:
            return origin_of_file(variant, weights)
        tag = own.tag
    task = task_of(tag)
    return Origin(tag, task != 'imagenet', task in DETECTORS)


def origin_of_file(variant: Variant, source: str) -> Origin:
    """Returns where the weights in a file or of a URL are from, by their names.

    Names of other libraries are classifiers. Whether images of a file were normalized as for the authors' detector is
    asked for in the log if it may be one: if it has no head, or MMEngine saved it.
    """
    family = variant.family
    is_file = source.startswith(WEB) or '://' not in source
    if not is_file or not (family.dense or variant.dense or family.options or family.detector_images):
        return Origin('', False, False)
    path = fetch_url(source) if source.startswith(WEB) else find_checkpoint(source)
    checkpoint = read_file(path, mmap=True)
    parts = [checkpoint, *(part for part in checkpoint.values() if isinstance(part, Mapping))]
    names = [f'.{name}' for part in parts for name in part]
    is_detector = any(f'.{head}.' in name for head in DETECTOR_HEADS for name in names)
    is_dense = is_detector or any('.decode_head.' in name for name in names)
    is_own = 'mmengine_version' in (checkpoint.get('meta') or {})  # the authors' frameworks are older
    if family.detector_images and (is_own if is_detector else not any('.head.' in name for name in names)):
        print_log(f'{source}: nothing tells how its images were normalized; taken are mean {family.mean} and std '
                  f"{family.std}, RGB; if it is of the authors' detector, name it {variant.name}_mask_rcnn.pth",
                  'current', WARNING)
    words = [word for word in family.options if any(f'.{word}.' in name for name in names)]
    return Origin('_'.join(words), is_dense, is_detector and not is_own)


def has_img_size(variant: Variant) -> bool:
    """Returns whether the backbone takes ``img_size``, the image side of a position embedding."""
    return 'img_size' in signature(MODELS.module_dict[variant.family.backbone]).parameters
