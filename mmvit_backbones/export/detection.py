"""Postprocessing of RetinaNet and Mask R-CNN as graphs, for one image, with mmdet's formulas."""
import torch
from mmdet.models.task_modules.coders.delta_xywh_bbox_coder import onnx_delta2bbox
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from .preprocess import Geometry, size_of


def decode(coder, boxes: Tensor, deltas: Tensor, size: tuple[Tensor, Tensor]) -> Tensor:
    """Applies deltas ``(N, 4)`` to boxes ``(N, 4)`` and clips them to the image."""
    # The coder's own method asks whether there are boxes, which a graph cannot.
    boxes = onnx_delta2bbox(boxes, deltas, coder.means, coder.stds).clamp(min=0)
    height, width = size
    return torch.minimum(boxes, torch.stack([width, height] * 2).to(boxes))


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, cfg: ConfigDict) -> Tensor:
    """Returns the indices of the boxes kept by non-maximum suppression within each group, best first."""
    extent = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).amax(0)  # of no box, too
    keep = nms(boxes + groups.to(boxes)[:, None] * (extent + 1), scores, cfg.nms.iou_threshold)
    return keep[torch.arange(keep.shape[0]) < cfg.max_per_img]


class Dense(nn.Module):
    """Boxes of a dense head with anchors (RetinaNet's, or an RPN's)."""

    def __init__(self, head: nn.Module, cfg: ConfigDict, geometry: Geometry) -> None:
        super().__init__()
        self.head, self.cfg, self.geometry = [head], cfg, geometry  # in a list: its weights are the network's

    def candidates(self, scores: list[Tensor], deltas: list[Tensor], size: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Returns boxes, scores, classes and levels of the best anchors of each level."""
        head, = self.head
        limit, classes, found = self.cfg.get('nms_pre', -1), head.cls_out_channels, []
        for level, (score, delta) in enumerate(zip(scores, deltas)):
            probability = score[0].permute(1, 2, 0).flatten().sigmoid()
            count = probability.shape[0]
            value, index = probability.topk(torch.sym_min(limit, count) if limit > 0 else count)
            chosen = torch.div(index, classes, rounding_mode='floor')
            anchors = head.prior_generator.single_level_grid_priors(score.shape[2:], level, device='cpu')[chosen]
            boxes = decode(head.bbox_coder, anchors, delta[0].permute(1, 2, 0).reshape(-1, 4)[chosen], size)
            found.append((boxes, value, index % classes, torch.full_like(index, level)))
        return [torch.cat(values) for values in zip(*found)]


class RetinaNetBoxes(Dense):
    """Converts the maps of RetinaNet's head to labels, scores and boxes."""

    def __init__(self, model: nn.Module, geometry: Geometry) -> None:
        super().__init__(model.bbox_head, model.test_cfg, geometry)

    def forward(self, image: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.geometry.resized(image)
        half = len(maps) // 2
        boxes, scores, labels, _ = self.candidates(maps[:half], maps[half:], size)
        chosen = (scores > self.cfg.get('score_thr', 0)).nonzero()[:, 0]
        boxes, scores, labels = boxes[chosen] / scale_of(image, size), scores[chosen], labels[chosen]
        keep = suppress(boxes, scores, labels, self.cfg)
        return labels[keep], scores[keep], boxes[keep]


class MaskRCNNInstances(Dense):
    """Converts the pyramid and the RPN's maps to labels, scores, boxes and, with a mask head, masks."""

    def __init__(self, model: nn.Module, geometry: Geometry) -> None:
        super().__init__(model.rpn_head, model.test_cfg.rpn, geometry)
        self.rcnn, self.roi_head = model.test_cfg.rcnn, model.roi_head
        self.levels = len(model.rpn_head.prior_generator.strides)

    def forward(self, image: Tensor, *maps: Tensor) -> tuple[Tensor, ...]:
        size, roi_head, classes = self.geometry.resized(image), self.roi_head, self.roi_head.bbox_head.num_classes
        pyramid, scores, deltas = maps[:-2 * self.levels], maps[-2 * self.levels:-self.levels], maps[-self.levels:]
        rois = self.propose(scores, deltas, size)
        scores, deltas = roi_head.bbox_head(self.pool(roi_head.bbox_roi_extractor, pyramid, rois))
        scores = scores.softmax(1)[:, :-1].flatten()
        chosen = (scores > self.rcnn.score_thr).nonzero()[:, 0]
        roi, labels = torch.div(chosen, classes, rounding_mode='floor'), chosen % classes
        deltas = deltas.reshape(-1, 4)[roi if roi_head.bbox_head.reg_class_agnostic else chosen]
        boxes, scores = decode(roi_head.bbox_head.bbox_coder, rois[roi], deltas, size), scores[chosen]
        scale = scale_of(image, size)
        # As mmdet, which scales the boxes first if there are no masks.
        keep = suppress(boxes if roi_head.with_mask else boxes / scale, scores, labels, self.rcnn)
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        if not roi_head.with_mask:
            return labels, scores, boxes / scale
        masks = roi_head.mask_head(self.pool(roi_head.mask_roi_extractor, pyramid, boxes)).sigmoid()
        kind = torch.zeros_like(labels) if roi_head.mask_head.class_agnostic else labels
        masks, boxes = masks[torch.arange(masks.shape[0]), kind], boxes / scale
        return labels, scores, boxes, paste(masks, boxes, size_of(image)) >= self.rcnn.mask_thr_binary

    def propose(self, scores: list[Tensor], deltas: list[Tensor], size: tuple[Tensor, Tensor]) -> Tensor:
        boxes, scores, _, levels = self.candidates(scores, deltas, size)
        extent = boxes[:, 2:] - boxes[:, :2]
        valid = (extent > self.cfg.get('min_bbox_size', -1)).all(1).nonzero()[:, 0]
        boxes, scores, levels = boxes[valid], scores[valid], levels[valid]
        return boxes[suppress(boxes, scores, levels, self.cfg)]

    @staticmethod
    def pool(extractor: nn.Module, pyramid: tuple[Tensor, ...], boxes: Tensor) -> Tensor:
        """Pools features ``(N, C, size, size)`` of boxes ``(N, 4)``, each from the level of its size."""
        rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], 1)
        levels = extractor.map_roi_levels(rois, extractor.num_inputs)
        order, pooled = [], []
        for level, (features, layer) in enumerate(zip(pyramid, extractor.roi_layers)):
            chosen = (levels == level).nonzero()[:, 0]
            order.append(chosen)
            pooled.append(roi_align(features, rois[chosen], layer.output_size, layer.spatial_scale,
                                    layer.sampling_ratio, layer.aligned))
        order = torch.cat(order)
        torch._check(order.shape[0] == boxes.shape[0])
        return torch.cat(pooled)[order.argsort()]


def scale_of(image: Tensor, size: tuple[Tensor, Tensor]) -> Tensor:
    """Returns the scale factors of x1, y1, x2, y2."""
    height, width = size_of(image)
    return torch.stack([size[1] / width, size[0] / height] * 2).float()


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Samples masks ``(N, m, m)`` of boxes at the pixels of an image, ``(N, H, W)``: bilinear, zeros outside."""
    def line(start: Tensor, end: Tensor, length: int, count: int) -> Tensor:
        pixel = torch.arange(length).float() + 0.5
        position = (pixel - start[:, None]) / (end - start)[:, None] * count - 0.5
        position = torch.where(position.isfinite(), position, count / 2 - 0.5)
        return (1 - (position[..., None] - torch.arange(count)).abs()).clamp(min=0)

    x1, y1, x2, y2 = boxes.unbind(1)
    count = masks.shape[-1]
    return line(y1, y2, size[0], count) @ masks @ line(x1, x2, size[1], count).transpose(1, 2)
