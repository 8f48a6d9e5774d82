"""Postprocessing of RetinaNet and of Faster, Mask and Cascade R-CNN, for one image, in modules that can be exported."""
from collections.abc import Sequence
from itertools import pairwise

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import onnx_delta2bbox
from torch import Tensor, nn
from torchvision.ops import nms

from .preprocess import Geometry, as_tuple, size_of

STRIPS = 16  # of masks that are pasted into the image one after the other


def decode(coder, boxes: Tensor, deltas: Tensor, size: tuple[Tensor, Tensor]) -> Tensor:
    """Applies deltas ``(N, 4)`` to boxes ``(N, 4)`` and clips them to the image."""
    # coder.decode branches on the number of boxes, which cannot be exported.
    boxes = onnx_delta2bbox(boxes, deltas, coder.means, coder.stds).clamp(min=0)
    height, width = size
    return torch.minimum(boxes, torch.stack([width, height] * 2).to(boxes))


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, cfg: dict) -> Tensor:
    """Returns the indices of the boxes kept by non-maximum suppression within each group, best first."""
    extent = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).amax(0)  # with a zero, in case there are no boxes
    # torch.export assumes that at least two boxes are kept. Two dummy boxes are added; their scores are the lowest, so
    # they come last and can be dropped.
    dummies = torch.tensor([[-2., -2., -1., -1.], [-4., -4., -3., -3.]])
    boxes = torch.cat([boxes + groups.to(boxes)[:, None] * (extent + 1), dummies])
    keep = nms(boxes, torch.cat([scores, -torch.ones(2)]), cfg['nms']['iou_threshold'])[:-2]
    return keep[torch.arange(keep.shape[0]) < cfg['max_per_img']]


class Dense(nn.Module):
    """Base class that selects the boxes of RetinaNet's head or of an RPN."""

    def __init__(self, head: AnchorHead, cfg: dict, geometry: Geometry) -> None:
        super().__init__()
        self.head = [head]  # a list, because a submodule would store the network's weights a second time
        self.cfg, self.geometry = cfg, geometry

    def candidates(self, scores: Sequence[Tensor], deltas: Sequence[Tensor],
                   size: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Returns boxes, scores, classes and levels of the best anchors of each level."""
        head, = self.head
        limit, classes, found = self.cfg.get('nms_pre', -1), head.cls_out_channels, []
        for level, (score, delta) in enumerate(zip(scores, deltas)):
            # Sigmoid of ONNX Runtime has errors of 1e-7, which would change the order of unlikely boxes.
            probability = 1 / (1 + torch.exp(-score[0].permute(1, 2, 0).flatten()))
            count = probability.shape[0]
            best = torch.sym_min(limit, count) if limit > 0 else count
            value, index = probability.topk(best)  # pyright: ignore[reportArgumentType]  # sym_min is not annotated
            chosen = torch.div(index, classes, rounding_mode='floor')
            anchors = head.prior_generator.single_level_grid_priors(score.shape[2:], level, device='cpu')[chosen]
            boxes = decode(head.bbox_coder, anchors, delta[0].permute(1, 2, 0).reshape(-1, 4)[chosen], size)
            found.append((boxes, value, index % classes, torch.full_like(index, level)))
        return [torch.cat(values) for values in zip(*found)]

    def select(self, boxes: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
        """Returns the indices of the boxes that are large enough and kept by non-maximum suppression, best first."""
        extent = boxes[:, 2:] - boxes[:, :2]
        valid = (extent > self.cfg.get('min_bbox_size', -1)).all(1).nonzero()[:, 0]
        return valid[batched_nms(boxes[valid], scores[valid], groups[valid], self.cfg)]


class RetinaNetBoxes(Dense):
    """Converts the maps of RetinaNet's head to labels, scores and boxes."""

    def __init__(self, model: SingleStageDetector, geometry: Geometry) -> None:
        super().__init__(model.bbox_head, model.test_cfg or {}, geometry)

    def forward(self, image: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.geometry.resized(image)
        half = len(maps) // 2
        boxes, scores, labels, _ = self.candidates(maps[:half], maps[half:], size)
        chosen = (scores > self.cfg.get('score_thr', 0)).nonzero()[:, 0]
        boxes, scores, labels = boxes[chosen] / scale_of(image, size), scores[chosen], labels[chosen]
        keep = self.select(boxes, scores, labels)
        return labels[keep], scores[keep], boxes[keep]


class TwoStageInstances(Dense):
    """Converts the feature pyramid and the RPN's maps to labels, scores, boxes and, with a mask head, masks.

    Each head of Cascade R-CNN refines the boxes of the previous head; logits and masks are averaged over the heads.
    """

    def __init__(self, model: TwoStageDetector, geometry: Geometry) -> None:
        test_cfg: dict = model.test_cfg or {}
        super().__init__(model.rpn_head, test_cfg['rpn'], geometry)
        self.rcnn: dict = test_cfg['rcnn']
        self.roi_head = model.roi_head
        self.levels = len(model.rpn_head.prior_generator.strides)

    def forward(self, image: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        size, roi_head = self.geometry.resized(image), self.roi_head
        pyramid, scores, deltas = maps[:-2 * self.levels], maps[-2 * self.levels:-self.levels], maps[-self.levels:]
        boxes = refined = self.propose(scores, deltas, size)
        heads, logits, regressed = stages(roi_head.bbox_head), [], boxes
        for head, extractor in zip(heads, stages(roi_head.bbox_roi_extractor)):
            boxes = refined
            score, delta = self.run(head, extractor, pyramid, boxes)
            logits.append(score)
            regressed = delta.reshape(-1, 1 if head.reg_class_agnostic else head.num_classes, 4)
            refined = decode(head.bbox_coder, boxes, of_class(regressed, score[:, :-1].argmax(1)), size)
        last, scores = heads[-1], torch.stack(logits).mean(0).softmax(1)[:, :-1].flatten()
        chosen = (scores > self.rcnn['score_thr']).nonzero()[:, 0]
        roi, labels = torch.div(chosen, last.num_classes, rounding_mode='floor'), chosen % last.num_classes
        boxes, scores = decode(last.bbox_coder, boxes[roi], of_class(regressed[roi], labels), size), scores[chosen]
        scale = scale_of(image, size)
        # If there is no mask head, mmdet scales the boxes before non-maximum suppression.
        keep = batched_nms(boxes if roi_head.with_mask else boxes / scale, scores, labels, self.rcnn)
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        if not roi_head.with_mask:
            return labels, scores, boxes / scale
        masks = []
        for head, extractor in zip(stages(roi_head.mask_head), stages(roi_head.mask_roi_extractor)):
            mask, = self.run(head, extractor, pyramid, boxes)
            masks.append(of_class(mask.sigmoid(), labels))
        boxes, mask = boxes / scale, torch.stack(masks).mean(0)
        return labels, scores, boxes, paste(mask, boxes, size_of(image), self.rcnn['mask_thr_binary'])

    def run(self, head: nn.Module, extractor: SingleRoIExtractor, pyramid: tuple[Tensor, ...],
            boxes: Tensor) -> list[Tensor]:
        """Returns the outputs of a head for boxes ``(N, 4)``.

        Two dummy boxes are added, because group norm and other layers cannot be exported for empty batches.
        """
        outputs = head(self.pool(extractor, pyramid, torch.cat([boxes, torch.zeros(2, 4)])))
        return [values[:boxes.shape[0]] for values in as_tuple(outputs)]

    def propose(self, scores: Sequence[Tensor], deltas: Sequence[Tensor], size: tuple[Tensor, Tensor]) -> Tensor:
        """Returns the proposals of the RPN, ``(N, 4)``."""
        boxes, objectness, _, levels = self.candidates(scores, deltas, size)
        return boxes[self.select(boxes, objectness, levels)]

    @staticmethod
    def pool(extractor: SingleRoIExtractor, pyramid: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """Pools features ``(N, C, size, size)`` for boxes ``(N, 4)``, each from the level that fits its size."""
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
        levels = extractor.map_roi_levels(rois, extractor.num_inputs)
        layers: list = list(extractor.roi_layers)
        indices, pooled = [], []
        for level, (features, layer) in enumerate(zip(pyramid, layers)):
            chosen = (levels == level).nonzero()[:, 0]
            indices.append(chosen)
            pooled.append(torch.ops.torchvision.roi_align(
                features, rois[chosen], layer.spatial_scale, *layer.output_size, layer.sampling_ratio, layer.aligned))
        order = torch.cat(indices)
        torch._check(order.shape[0] == boxes.shape[0])
        return torch.cat(pooled)[order.argsort()]


def stages(part: nn.Module) -> list:
    """Returns a list of one module per stage: several for Cascade R-CNN, one for other detectors."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def of_class(values: Tensor, labels: Tensor) -> Tensor:
    """Returns the values of each label from ``(N, classes, ...)``, or class-agnostic values from ``(N, 1, ...)``."""
    return values[torch.arange(values.shape[0]), torch.zeros_like(labels) if values.shape[1] == 1 else labels]


def scale_of(image: Tensor, size: tuple[Tensor, Tensor]) -> Tensor:
    """Returns the factors that scale x1, y1, x2, y2 from the image to the resized image."""
    height, width = size_of(image)
    return torch.stack([size[1] / width, size[0] / height] * 2).float()


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """Pastes the masks ``(N, m, m)`` of boxes into ``(N, H, W)``, which is whether they reach a threshold.

    Masks are interpolated bilinearly, and are 0 outside their boxes. Strips of rows are pasted one after the other,
    because all values in float32 take four times as much memory as the result.
    """
    def line(start: Tensor, end: Tensor, first: int, last: int) -> Tensor:
        pixel = torch.arange(first, last).float() + 0.5
        position = (pixel - start[:, None]) / (end - start)[:, None] * count - 0.5
        position = torch.where(position.isfinite(), position, count / 2 - 0.5)
        return (1 - (position[..., None] - torch.arange(count)).abs()).clamp(min=0)

    x1, y1, x2, y2 = boxes.unbind(1)
    (height, width), count = size, masks.shape[-1]
    columns = masks @ line(x1, x2, 0, width).transpose(1, 2)
    edges = [height * strip // STRIPS for strip in range(STRIPS + 1)]
    return torch.cat([line(y1, y2, *edge) @ columns >= threshold for edge in pairwise(edges)], 1)
