"""Splits a model of mmpretrain, mmdet or mmseg into modules that can be exported with dynamic image sizes."""
import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from ..configs.files import leaf_datasets
from ..utils.frameworks import takes_rgb, use_framework
from .preprocess import Geometry, MatrixPool, Preprocess, size_of

MODELS = dict(mmpretrain=['ImageClassifier'], mmseg=['EncoderDecoder'],
              mmdet=['RetinaNet', 'FasterRCNN', 'MaskRCNN', 'CascadeRCNN'])
ROI_HEADS = 'StandardRoIHead', 'CascadeRoIHead'
DECODE_HEADS = 'LinearDecodeHead', 'UPerHead', 'FPNHead', 'FCNHead', 'SegformerHead'


class Parts(NamedTuple):
    """Parts of a model; ``postprocess(images, *network(preprocess(images)))`` returns predictions.

    ``images`` has the shape ``(B, H, W, 3)``, or for a detector ``(H, W, 3)``.
    """

    preprocess: Preprocess
    network: nn.Module
    postprocess: nn.Module
    takes: str
    outputs: list[str]
    size: tuple[int, int] | None = None  # height and width of all inputs of the network, if they cannot vary


def exported_geometry(cfg: Config) -> Geometry:
    """Returns the geometry of a config's test pipeline, after checking that its model can be exported.

    Raises:
        UsageError: If the model cannot be exported; the message contains the reason.
    """
    model, framework = cfg.model, cfg.default_scope
    allowed = MODELS.get(framework, ())
    if type_name(model) not in allowed:
        raise UsageError(f'model {type_name(model)} cannot be exported; allowed for {framework} are '
                         f'{", ".join(allowed) or "none"}')
    CHECKS[framework](model)
    steps = leaf_datasets(cfg.test_dataloader.dataset)[0]['pipeline']
    preprocessor = {**(cfg.get('data_preprocessor') or {}), **(model.get('data_preprocessor') or {})}
    if len(preprocessor.get('mean') or ()) != 3:
        raise UsageError(f'data_preprocessor.mean must have three values, for RGB, got {preprocessor.get("mean")}')
    padding = preprocessor.get('test_cfg') or {}  # of mmseg
    if padding.get('size'):
        raise UsageError('data_preprocessor.test_cfg must have size_divisor alone to be exported, got '
                         f'size={padding["size"]}')
    divisor = padding.get('size_divisor', 1) if framework == 'mmseg' else preprocessor.get('pad_size_divisor', 1)
    geometry = Geometry(steps, divisor or 1)
    if framework == 'mmdet' and geometry.crop:
        raise UsageError('CenterCrop in the test pipeline of a detector cannot be exported; remove it')
    return geometry


def _check_classifier(model: dict) -> None:
    use_framework('mmpretrain')  # without its notices
    from mmpretrain.models.heads import ClsHead, MultiLabelClsHead, MultiTaskHead
    from mmpretrain.registry import MODELS as HEADS
    kind: Any = model.get('head', {}).get('type')
    head: Any = kind if isinstance(kind, type) else HEADS.get(str(kind)) or object
    if issubclass(head, (MultiLabelClsHead, MultiTaskHead)) or issubclass(head, ClsHead) and (
            head.predict, head._get_predictions) != (ClsHead.predict, ClsHead._get_predictions):
        raise UsageError(f'head {type_name(model["head"])} cannot be exported: its scores are no softmax of logits')


def _check_segmenter(model: dict) -> None:
    head = model['decode_head']
    if type_name(head) not in DECODE_HEADS:
        raise UsageError(f'decode_head {type_name(head)} cannot be exported; allowed are {", ".join(DECODE_HEADS)}')
    mode = model.get('test_cfg', {}).get('mode', 'whole')
    if mode != 'whole':
        raise UsageError(f'model.test_cfg.mode must be whole, got {mode}: sliding windows cannot be exported')
    if head.get('out_channels') == 1 or head.num_classes < 2:
        raise UsageError('a segmenter with one output channel cannot be exported')


def _check_detector(model: Any) -> None:
    if type_name(model) != 'RetinaNet' and type_name(model.roi_head) not in ROI_HEADS:
        raise UsageError(f'roi_head {type_name(model.roi_head)} cannot be exported; allowed are {", ".join(ROI_HEADS)}')
    for part in (model.test_cfg.get('rcnn'), model.test_cfg.get('rpn'), model.test_cfg):
        if part and type_name({'type': 'nms', **part.get('nms', {})}) != 'nms':
            raise UsageError(f'non-maximum suppression {type_name(part.nms)} cannot be exported; allowed is nms')


CHECKS = dict(mmpretrain=_check_classifier, mmseg=_check_segmenter, mmdet=_check_detector)


def split(model: Any, cfg: Config) -> Parts:
    """Returns the parts of a copy of a model, which must be in float32 on a CPU.

    Args:
        model (BaseModel): The model to split.
        cfg (Config): Config of the model.

    Raises:
        UsageError: See :func:`exported_geometry`.
    """
    geometry, framework = exported_geometry(cfg), cfg.default_scope
    model = copy.deepcopy(model).eval()
    source = model.data_preprocessor
    preprocess = Preprocess(geometry, source.get_buffer('mean'), source.get_buffer('std'), takes_rgb(source))
    size = geometry.size or getattr(model.backbone, 'image_size', None)  # as TimmBackbone has
    if framework == 'mmpretrain':
        return Parts(preprocess, model, Probabilities(), 'images', ['scores'], size)
    if framework == 'mmseg':
        for name, pool in list(model.named_modules()):
            if isinstance(pool, nn.AdaptiveAvgPool2d):
                model.set_submodule(name, MatrixPool(pool.output_size))
        pixels = ClassOfPixels(geometry, model.align_corners)
        return Parts(preprocess, Segment(model), pixels, 'images', ['segmentation'], size)
    from .detection import RetinaNetBoxes, TwoStageInstances
    outputs = ['labels', 'scores', 'boxes']
    if not hasattr(model, 'roi_head'):
        return Parts(preprocess, Detect(model), RetinaNetBoxes(model, geometry), 'image', outputs, size)
    outputs += ['masks'] * model.roi_head.with_mask
    return Parts(preprocess, Detect(model), TwoStageInstances(model, geometry), 'image', outputs, size)


class Part(nn.Module):
    """Base class of modules that call parts of a framework's model."""

    model: Any  # its attributes depend on the framework

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Probabilities(nn.Module):
    """Converts logits ``(B, classes)`` to probabilities."""

    def forward(self, images: Tensor, *maps: Tensor) -> Tensor:
        return maps[0].softmax(1)


class Segment(Part):
    """Computes the decode head's logits from images ``(B, 3, H, W)``, and resizes them to ``(B, classes, H, W)``."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model.decode_head(self.model.extract_feat(images))
        return F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=self.model.align_corners)


class ClassOfPixels(nn.Module):
    """Resizes logits without those of the padding to the size of the images, and returns each pixel's best class."""

    def __init__(self, geometry: Geometry, align_corners: bool) -> None:
        super().__init__()
        self.geometry, self.align_corners = geometry, align_corners

    def forward(self, images: Tensor, *maps: Tensor) -> Tensor:
        logits = maps[0]
        if self.geometry.divisor > 1:
            height, width = (side.long().item() for side in self.geometry.resized(images))
            for side, whole in zip((height, width), logits.shape[2:]):
                torch._check(side >= 1)
                torch._check(side <= whole)
            logits = logits[:, :, :height, :width]
        size = tuple(size_of(images))
        return F.interpolate(logits, size, mode='bilinear', align_corners=self.align_corners).argmax(1)


class Detect(Part):
    """Computes the maps of RetinaNet's head, or the feature pyramid and the maps of the RPN."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pyramid = self.model.extract_feat(images)
        if not hasattr(self.model, 'roi_head'):
            scores, deltas = self.model.bbox_head(pyramid)
            return *scores, *deltas
        scores, deltas = self.model.rpn_head(pyramid)
        return *pyramid, *scores, *deltas
