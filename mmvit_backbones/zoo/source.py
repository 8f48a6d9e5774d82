"""Weights as a value: what a person names, and what belongs to it."""
import logging
import os.path as osp
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS

from ..utils.classes import classes_of
from ..utils.literals import read_values
from .checkpoints import WEB, read_checkpoint
from .converters.detectron2_heads import OTHER_PARTS
from .hubs import HUB_OF_TIMM, images_of, timm_network
from .reading import DETAILS, find_checkpoint
from .settings import setting
from .state_dicts import find_state_dict, names_in
from .variants import VARIANTS, Normalization, Variant, official_name, published_by, task_of
from .weights import WEIGHTS

DETECTORS = 'mask_rcnn', 'retinanet'  # in tags
DETECTOR_HEADS = 'roi_head.', 'bbox_head.'  # how names of weights begin


@dataclass(frozen=True)
class Weights:
    """Weights that a network can start from.

    Args:
        source (str): What loads them: a file, a URL, ``official://NAME[/TAG]`` or a name of another library.
        variant (Variant | None): The published network that they are of. Defaults to None: nothing tells.
        tag (str): Of published weights; for other files, words of ``Family.options``. Defaults to ''.
        images (Normalization | None): How images were normalized in their training. Defaults to None: nothing tells.
        is_dense (bool): Whether they are a detector's or a segmenter's. Defaults to False.
        is_published (bool): Whether ``variant`` and ``tag`` are those of a published file. Defaults to False.
        is_unread (bool): Whether nothing tells their names before they are loaded. Defaults to False.
    """

    source: str
    variant: Variant | None = None
    tag: str = ''
    images: Normalization | None = None
    is_dense: bool = False
    is_published: bool = False
    is_unread: bool = False

    @cached_property
    def checkpoint(self) -> Mapping[str, Any] | None:
        """Returns the content: a file's, memory-mapped; of published names alone, names and shapes, without a download.

        None for those that are not read.
        """
        if self.is_unread:
            return None
        if self.is_published and self.variant and not osp.isfile(self.source):
            return names_of_published(self.variant, self)
        if self.source.startswith(HUB_OF_TIMM):
            return timm_network(self.source).state_dict()
        return read_checkpoint(self.source, mmap=True)

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """Returns the state dict of the whole model."""
        return find_state_dict(self.checkpoint or {}, source=self.source)[0]

    @property
    def meta(self) -> Mapping[str, Any]:
        return (self.checkpoint or {}).get('meta') or {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the names of the classes of a training; empty if nothing tells."""
        return classes_of(self.meta.get('dataset_meta'))


def open_weights(source: str | bool | None, variant: Variant | None = None) -> Weights | None:
    """Returns the weights that a person named; None for random ones.

    Args:
        source (str | bool | None): A file; the work dir of a training, for its best checkpoint; a URL; an
            ``official://`` name; a name of another library; or, of a published network, True or a tag.
        variant (Variant | None): The published network that starts from them. Defaults to None: of another library.

    Raises:
        CheckpointError: If there are no such weights, or the file cannot be read.
    """
    if source is None or source is False:
        return None
    if variant and (source is True or source in variant.weights):
        source = official_name(variant, source)
    source = str(source)
    if published := published_by(source):
        return open_published(source, *published)
    rows = [row for row in WEIGHTS.values() if source in row.urls or Path(source).name == row.file_name]
    if row := next((row for row in rows if variant and row.variant == variant.name), rows[0] if rows else None):
        return open_published(source, VARIANTS[row.variant], row.tag)
    if not source.startswith(WEB) and '://' in source:
        return Weights(source, variant, images=images_of(source), is_unread=not source.startswith(HUB_OF_TIMM))
    return describe_file(Weights(source if source.startswith(WEB) else find_checkpoint(source)), variant)


def open_published(source: str, variant: Variant, tag: str | Literal[True]) -> Weights:
    """Returns the authors' weights with a tag."""
    tag = variant.published_weights(tag).tag
    task, images = task_of(tag), variant.family.detector_images
    return Weights(source, variant, tag, Normalization(**images) if task in DETECTORS and images else None,
                   task != 'imagenet', is_published=True)


def describe_file(weights: Weights, variant: Variant | None) -> Weights:
    """Returns the weights in a file or of a URL, of which their names, and what was saved beside them, tell.

    A detector in the authors' layout is theirs, whose images had a normalization of their own.
    """
    names, family = names_in(weights.checkpoint or {}), variant and variant.family
    is_theirs = bool(family and family.layout.prefixes_in(dict.fromkeys(names)))
    heads = OTHER_PARTS if is_theirs else DETECTOR_HEADS
    is_detector = any(f'.{head}' in name for head in heads for name in names)
    is_dense = is_detector or any('.decode_head.' in name for name in names)
    images = images_beside(weights.meta)
    if family and family.detector_images and is_detector and not images:
        images = Normalization(**family.detector_images) if is_theirs else None
        if not is_theirs:
            print_log(f"{weights.source} does not tell how its images were normalized, so ImageNet's mean and standard "
                      "deviation are taken; a detector of the authors has others: convert its file again", 'current',
                      logging.WARNING)
    words = [word for word in (family.options if family else ()) if any(f'.{word}.' in name for name in names)]
    found = replace(weights, variant=variant, tag='_'.join(words), images=images, is_dense=is_dense)
    vars(found)['checkpoint'] = weights.checkpoint  # which is read once
    return found


def names_of_published(variant: Variant, weights: Weights) -> dict[str, torch.Tensor]:
    """Returns the backbone and neck of published weights, without memory: the names and shapes of their classifier."""
    arguments = {} if weights.is_dense else variant.family.classifier
    neck = variant.neck_config(variant.head_channels) or {}
    parts = dict(backbone={**setting(variant, weights=weights).backbone, **arguments})
    if neck.get('type') == 'LayerNormPooling' and not weights.is_dense:
        parts['neck'] = neck
    with torch.device('meta'):
        return {f'{part}.{name}': x for part, config in parts.items()
                for name, x in MODELS.build(config).state_dict().items()}


def images_beside(meta: Mapping[str, Any]) -> Normalization | None:
    """Returns how images are normalized according to the ``meta`` of a checkpoint; None if it does not tell."""
    details = meta.get(DETAILS) or {}
    if 'mean' in details:
        return Normalization(details['mean'], details['std'], details['to_rgb'])
    return images_in(read_values(str(meta.get('cfg')))[0])


def images_in(config: Mapping[str, Any]) -> Normalization | None:
    """Returns how the images of a config are normalized; None without a data preprocessor.

    One without a mean leaves images as they are.
    """
    model = config.get('model')
    found = (model.get('data_preprocessor') if isinstance(model, Mapping) else None) or config.get('data_preprocessor')
    while isinstance(found, Mapping) and 'data_preprocessor' in found:  # of several views
        found = found['data_preprocessor']
    if not isinstance(found, Mapping):
        return None
    to_rgb = any(found.get(key) for key in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb'))
    if found.get('mean') is None:
        return Normalization([0.] * 3, [1.] * 3, to_rgb)
    return Normalization(list(found['mean']), list(found['std']), to_rgb)
