"""Splits classifiers of mmpretrain into parts that can be exported."""
from typing import Any

from torch import Tensor, nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from ..frameworks.building import use_framework
from .preprocess import Geometry

MODELS = 'ImageClassifier',


def check(model: Any, geometry: Geometry) -> None:
    use_framework('mmpretrain')  # without its notices
    from mmpretrain.models.heads import ClsHead, MultiLabelClsHead, MultiTaskHead
    from mmpretrain.registry import MODELS as HEADS
    kind: Any = model.get('head', {}).get('type')
    head: Any = kind if isinstance(kind, type) else HEADS.get(str(kind)) or object
    if issubclass(head, (MultiLabelClsHead, MultiTaskHead)) or issubclass(head, ClsHead) and (
            head.predict, head._get_predictions) != (ClsHead.predict, ClsHead._get_predictions):
        raise UsageError(f'head {type_name(model["head"])} cannot be exported: its scores are no softmax of logits')


def take_apart(model: Any, geometry: Geometry) -> tuple[nn.Module, nn.Module, str, list[str]]:
    return model, Probabilities(), 'images', ['scores']


class Probabilities(nn.Module):
    """Converts logits ``(B, classes)`` to probabilities."""

    def forward(self, images: Tensor, *maps: Tensor) -> Tensor:
        return maps[0].softmax(1)
