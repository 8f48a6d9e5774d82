"""Splits a model of a framework into three modules with graphs for all image sizes."""
import copy
from typing import NamedTuple

import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from ..errors import UsageError
from ..inference.load import as_tuple
from ..utils.config import leaf_datasets
from .preprocess import Geometry, MatrixPool, Preprocess, size_of

MODELS = dict(mmpretrain=['ImageClassifier'], mmseg=['EncoderDecoder'], mmdet=['RetinaNet', 'FasterRCNN', 'MaskRCNN'])
DECODE_HEADS = 'UPerHead', 'FPNHead', 'FCNHead'
# torch.export asks for a remainder, and keeps the answer, when it computes the size of a max pooling's output.
MAX_POOLED = 'Feature2Pyramid', 'ReMViTv2'


class Parts(NamedTuple):
    """Parts of a model: ``postprocess(image, *network(preprocess(image)))`` predicts one image ``(H, W, 3)``.

    Without ``preprocess``, the image is the network's input ``(1, 3, H, W)``, and results are in its pixels.
    """

    preprocess: nn.Module | None
    network: nn.Module
    postprocess: nn.Module
    outputs: list[str]
    is_static: bool  # the network's images have one size


def check_exportable(cfg: Config, file_format: str = 'onnx') -> Geometry:
    """Checks that a model can be exported, before its weights are read.

    Raises:
        UsageError: If it cannot; the message names the reason.
    """
    model, framework = cfg.model, cfg.default_scope
    allowed = MODELS.get(framework, ())
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
    if model.type != 'RetinaNet' and model.roi_head.type != 'StandardRoIHead':
        raise UsageError(f'roi_head {model.roi_head.type} cannot be exported; allowed is StandardRoIHead')
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
    preprocess = None
    if preprocessing:
        source = model.data_preprocessor
        # As mmpretrain, mmseg and mmdet call it; images are read in BGR.
        is_rgb = any(getattr(source, name, False) for name in ('to_rgb', 'channel_conversion', '_channel_conversion'))
        preprocess = Preprocess(geometry, source.mean, source.std, is_rgb)
    else:
        geometry = Geometry([])
    if framework == 'mmpretrain':
        network, postprocess, outputs = model, Probabilities(), ['scores']
    elif framework == 'mmseg':
        for name, pool in list(model.named_modules()):
            if isinstance(pool, nn.AdaptiveAvgPool2d):
                model.set_submodule(name, MatrixPool(pool.output_size))
        network, postprocess, outputs = Segment(model), Segmentation(), ['segmentation']
    else:
        from .detection import MaskRCNNInstances, RetinaNetBoxes
        two_stages = hasattr(model, 'roi_head')
        network = Detect(model)
        postprocess = (MaskRCNNInstances if two_stages else RetinaNetBoxes)(model, geometry)
        outputs = ['labels', 'scores', 'boxes'] + ['masks'] * (two_stages and model.roi_head.with_mask)
    return Parts(preprocess, network, postprocess, outputs, preprocessing and geometry.is_static)


class Part(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Probabilities(nn.Module):
    """Converts logits ``(1, classes)`` to scores."""

    def forward(self, image: Tensor, *maps: Tensor) -> Tensor:
        return maps[0][0].softmax(0)


class Segment(Part):
    """Computes logits ``(1, classes, h, w)`` of the decode head from images ``(1, 3, H, W)``."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model.decode_head(self.model.extract_feat(images))
        return F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=self.model.align_corners)


class Segmentation(nn.Module):
    """Resizes logits to the image and selects the most likely class of each pixel."""

    def forward(self, image: Tensor, *maps: Tensor) -> Tensor:
        logits = F.interpolate(maps[0], tuple(size_of(image)), mode='bilinear', align_corners=False)
        return logits[0].argmax(0)


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
