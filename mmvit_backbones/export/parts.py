"""Splits a model of a framework into three modules with graphs for all image sizes."""
import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from ..errors import UsageError
from ..inference.runtimes import as_tuple
from ..utils.config import leaf_datasets
from ..version import __version__
from .preprocess import Geometry, MatrixPool, Preprocess, size_of

MODELS = dict(mmpretrain=['ImageClassifier'], mmseg=['EncoderDecoder'],
              mmdet=['RetinaNet', 'FasterRCNN', 'MaskRCNN', 'CascadeRCNN'])
DEFORMABLE = "mmcv's deformable attention compares sizes in a tensor, which torch.export cannot follow"
REFUSED = dict(DINO=DEFORMABLE, Mask2Former=DEFORMABLE)
ROI_HEADS = 'StandardRoIHead', 'CascadeRoIHead'
DECODE_HEADS = 'UPerHead', 'FPNHead', 'FCNHead'
# torch.export asks for a remainder, and keeps the answer, when it computes the size of a max pooling's output.
MAX_POOLED = 'Feature2Pyramid', 'ReMViTv2'


class Parts(NamedTuple):
    """Parts of a model: ``postprocess(images, *network(preprocess(images)))`` predicts images ``(B, H, W, 3)``.

    A detector takes one image ``(H, W, 3)``. Without ``preprocess``, the input is the network's ``(B, 3, H, W)``, and
    results are in its pixels. A network alone has no ``postprocess``, and returns its maps or logits.
    """

    preprocess: nn.Module | None
    network: nn.Module
    postprocess: nn.Module | None
    takes: str
    outputs: list[str]
    is_static: bool = False  # the network's images have one size
    details: dict = {}  # for who runs the file: docs/export.md


def check_exportable(cfg: Config, file_format: str = 'onnx') -> Geometry:
    """Checks that a model can be exported, before its weights are read.

    Raises:
        UsageError: If it cannot; the message names the reason.
    """
    model, framework = cfg.model, cfg.default_scope
    allowed = MODELS.get(framework, ())
    if model.get('type') in REFUSED:
        raise UsageError(f'model {model.type} cannot be exported: {REFUSED[model.type]}')
    if model.get('type') not in allowed:
        raise UsageError(f'model {model.get("type")} cannot be exported; of {framework}, allowed are '
                         f'{", ".join(allowed) or "none"}')
    if framework == 'mmseg':
        _check_segmenter(model)
    elif framework == 'mmdet':
        _check_detector(model)
        if file_format == 'aoti':
            raise UsageError('detectors are exported in the formats onnx and pt2, got aoti')
    steps = leaf_datasets(cfg.test_dataloader.dataset)[0].pipeline
    preprocessor = {**(cfg.get('data_preprocessor') or {}), **(model.get('data_preprocessor') or {})}
    if len(preprocessor.get('mean') or ()) != 3:
        raise UsageError('data_preprocessor.mean must have three values: images are exported in RGB')
    if preprocessor.get('test_cfg'):
        raise UsageError('data_preprocessor.test_cfg, a padding of test images, cannot be exported')
    divisor = preprocessor.get('pad_size_divisor', 1) if framework != 'mmseg' else 1
    geometry = Geometry(steps, divisor)
    if file_format != 'onnx' and not geometry.is_static:
        _check_free_sizes(model, framework, file_format)
    return geometry


def _check_free_sizes(model: dict, framework: str, file_format: str) -> None:
    if file_format == 'aoti' or framework == 'mmdet':
        raise UsageError(f'format {file_format} is for networks whose images have one size here, but the test pipeline '
                         'lets it vary: it must have Resize with keep_ratio=False, or CenterCrop')
    for part in model.backbone, model.get('neck') or {}:
        if part.get('type') in MAX_POOLED:
            raise UsageError(f'{part.type} is exported in format {file_format} for one size of images alone: for its '
                             'max pooling, the file would take either odd or even numbers of patches')


def _check_segmenter(model: dict) -> None:
    head = model.decode_head
    if head.type not in DECODE_HEADS:
        raise UsageError(f'decode_head {head.type} cannot be exported; allowed are {", ".join(DECODE_HEADS)}')
    if model.get('test_cfg', {}).get('mode', 'whole') != 'whole':
        raise UsageError('windows that slide over an image have no graph: model.test_cfg.mode=whole '
                         'exports the model for whole images')
    if head.get('out_channels') == 1 or head.num_classes < 2:
        raise UsageError('a segmenter with one output channel cannot be exported')


def _check_detector(model: dict) -> None:
    if model.type != 'RetinaNet' and model.roi_head.type not in ROI_HEADS:
        raise UsageError(f'roi_head {model.roi_head.type} cannot be exported; allowed are {", ".join(ROI_HEADS)}')
    for part in (model.test_cfg.get('rcnn'), model.test_cfg.get('rpn'), model.test_cfg):
        if part and part.get('nms', {}).get('type', 'nms') != 'nms':
            raise UsageError(f'non-maximum suppression {part.nms.type} has no graph; allowed is nms')


def split(model: nn.Module, cfg: Config, preprocessing: bool = True) -> Parts:
    """Returns the parts of a copy of a model on a CPU in float32, with or without resizing and normalization.

    Raises:
        UsageError: As :func:`check_exportable`.
    """
    geometry, framework = check_exportable(cfg), cfg.default_scope
    model = copy.deepcopy(model).eval()
    source = model.data_preprocessor
    # As mmpretrain, mmseg and mmdet call it; images are read in BGR.
    is_rgb = any(getattr(source, name, False) for name in ('to_rgb', 'channel_conversion', '_channel_conversion'))
    details = dict(
        preprocessing=dict(
            geometry.describe(), inside=preprocessing, channels='RGB' if is_rgb else 'BGR',
            mean=source.mean.flatten().tolist(), std=source.std.flatten().tolist()),
        thresholds=thresholds_of(cfg),
        version=f'mmvit_backbones {__version__}, torch {torch.__version__}')
    preprocess = Preprocess(geometry, source.mean, source.std, is_rgb) if preprocessing else None
    is_static = preprocessing and geometry.is_static
    if not preprocessing:
        geometry = Geometry([])
    if framework == 'mmpretrain':
        return Parts(preprocess, model, Probabilities(), 'images', ['scores'], is_static, details)
    if framework == 'mmseg':
        for name, pool in list(model.named_modules()):
            if isinstance(pool, nn.AdaptiveAvgPool2d):
                model.set_submodule(name, MatrixPool(pool.output_size))
        return Parts(preprocess, Segment(model), Segmentation(), 'images', ['segmentation'], is_static, details)
    from .detection import RetinaNetBoxes, TwoStageInstances
    two_stages = hasattr(model, 'roi_head')
    postprocess = (TwoStageInstances if two_stages else RetinaNetBoxes)(model, geometry)
    outputs = ['labels', 'scores', 'boxes'] + ['masks'] * (two_stages and model.roi_head.with_mask)
    return Parts(preprocess, Detect(model), postprocess, 'image', outputs, is_static, details)


def thresholds_of(cfg: Config) -> dict[str, float]:
    """Returns the thresholds that a detector's file contains: boxes and masks below them are not among its results."""
    if cfg.default_scope != 'mmdet':
        return {}
    test = cfg.model.test_cfg.get('rcnn') or cfg.model.test_cfg
    names = dict(score='score_thr', instances='max_per_img', mask='mask_thr_binary')
    return {**{name: test[key] for name, key in names.items() if key in test}, 'iou': test.nms.iou_threshold}


class Part(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Probabilities(nn.Module):
    """Converts logits ``(B, classes)`` to scores."""

    def forward(self, images: Tensor, *maps: Tensor) -> Tensor:
        return maps[0].softmax(1)


class Segment(Part):
    """Computes logits ``(B, classes, h, w)`` of the decode head from images ``(B, 3, H, W)``."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model.decode_head(self.model.extract_feat(images))
        return F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=self.model.align_corners)


class Segmentation(nn.Module):
    """Resizes logits to the image and selects the most likely class of each pixel."""

    def forward(self, images: Tensor, *maps: Tensor) -> Tensor:
        return F.interpolate(maps[0], tuple(size_of(images)), mode='bilinear', align_corners=False).argmax(1)


class Detect(Part):
    """Computes the maps of RetinaNet's head, or the pyramid and the maps of the RPN."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pyramid = self.model.extract_feat(images)
        if not hasattr(self.model, 'roi_head'):
            scores, deltas = self.model.bbox_head(pyramid)
            return *scores, *deltas
        scores, deltas = self.model.rpn_head(pyramid)
        return *pyramid, *scores, *deltas


class Half(Part):
    """Runs a network in float16, with inputs and outputs in float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(copy.deepcopy(network).half())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(value.float() for value in as_tuple(self.model(images.half())))
