"""Mask R-CNN or Faster R-CNN of mmdet for fine-tuning, with group norms, which work with any batch size.

Images ``(B, 3, height, width)``, padded to the largest of a batch, give boxes ``(N, 4)`` in pixels, scores and labels,
and masks if the data has some.
"""
import math

from mmengine.config import Config

from ..folders import FolderData
from ..frameworks.mmdet import box_tta
from .plan import Plan

BATCH_SIZE, LR, LR_OF_RANDOM_WEIGHTS = 2, 5e-4, 5e-4
IMPORTS = ()
STRIDES = [4, 8, 16, 32, 64]  # of mmdet's anchors, and the first four of its RoIs
NORM = dict(type='GN', num_groups=32)
SCALES = [percent / 100 for percent in range(60, 101, 4)]  # of the short side, as in the Swin 3x configs of mmdet
FEWEST, MOST = 100, 1000  # detections in an image that a model returns
WIDTH = 128  # channels of the light form's pyramid and heads, half of mmdet's


def make_frame(plan: Plan) -> dict:
    """Returns mmdet's settings of the model, and its default runtime."""
    model = 'mask-rcnn_r50_fpn' if plan.data.has_masks else 'faster-rcnn_r50_fpn'
    return dict(_base_=[f'mmdet::_base_/models/{model}.py', 'mmdet::_base_/default_runtime.py'])


def make_model(plan: Plan) -> dict:
    """Returns ``model``, with what it has in place of mmdet's settings.

    In its light form, the pyramid and the heads are half as wide, and fewer proposals are used. In bfloat16, for which
    mmcv has no kernel, torchvision pools boxes.
    """
    network, data, light = plan.network, plan.data, plan.given.light
    channels, strides, simple = network.make_pyramid(len(STRIDES))
    neck: dict = dict(_delete_=True, **simple) if simple else dict(in_channels=channels, norm_cfg=NORM)
    proposals: dict = {}
    extractor: dict = {}
    head: dict = dict(num_classes=len(data.classes))
    masks: dict = dict(norm_cfg=NORM)
    if light:
        neck['out_channels'] = extractor['out_channels'] = head['in_channels'] = masks['conv_out_channels'] = WIDTH
        proposals = dict(in_channels=WIDTH, feat_channels=WIDTH)
    if strides != STRIDES:
        proposals['anchor_generator'] = dict(strides=strides)
        extractor['featmap_strides'] = strides[:4]
    if plan.precision == 'bfloat16':
        extractor['roi_layer'] = dict(use_torchvision=True)
    roi_head = dict(bbox_roi_extractor=extractor, bbox_head=head)
    if data.has_masks:
        roi_head |= dict(mask_roi_extractor=extractor, mask_head=dict(head, **masks))
    images = network.images
    return dict(model=dict(
        data_preprocessor=dict(mean=images.mean, std=images.std, bgr_to_rgb=images.to_rgb),
        backbone=dict(_delete_=True, **network.backbone),
        neck=neck, rpn_head=proposals, roi_head=roi_head, **make_proposals(count_detections(data), light)))


def count_detections(data: FolderData) -> int:
    """Returns how many objects a model finds in an image: as many as one of the data has, in whole hundreds."""
    return min(max(100 * math.ceil(data.most_objects / 100), FEWEST), MOST)


def make_proposals(detections: int, light: bool) -> dict:
    """Returns ``train_cfg`` and ``test_cfg``: mmdet's, but at least two proposals per detection.

    Args:
        detections (int): Number of detections per image.
        light (bool): Whether to begin with half of mmdet's proposals, and a quarter of its samples.
    """
    number = max(500 if light else 1000, 2 * detections)
    train, test = (1000, 500) if light else (2000, 1000)  # of each level, before non-maximum suppression
    return dict(
        train_cfg=dict(rpn_proposal=dict(nms_pre=max(train, number), max_per_img=number),
                       rcnn=dict(sampler=dict(num=128 if light else 512))),
        test_cfg=dict(rpn=dict(nms_pre=max(test, number), max_per_img=number), rcnn=dict(max_per_img=detections)))


def is_light(cfg: Config) -> bool:
    """Returns whether the model of a config has the light form."""
    masks = cfg.model.roi_head.get('mask_head') or {}
    return cfg.model.train_cfg.rcnn.sampler.num < 512 and masks.get('conv_out_channels', 128) < 256


def make_pipelines(size: tuple[int, int], has_masks: bool) -> dict:
    """Returns ``test_pipeline``, for images of at most this short and long side in pixels, which keep their ratio."""
    return dict(test_pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=size[::-1], keep_ratio=True),
        # after Resize, so that the boxes keep their size
        dict(type='LoadAnnotations', with_bbox=True, with_mask=has_masks),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    ])


def make_evaluation(plan: Plan, pipeline: list) -> dict:
    """Returns ``val_dataloader`` and ``val_evaluator``, and for boxes alone, which mmdet merges, ``tta_model``.

    If the model finds more than 100 objects in an image, mAP is also computed at that number, which the augmented test
    returns, too.
    """
    data, detections = plan.data, count_detections(plan.data)
    loader = dict(batch_size=1, dataset={**data.val, 'test_mode': True, 'pipeline': pipeline})
    metric = ['bbox', 'segm'] if data.has_masks else ['bbox']
    more = dict(max_dets=detections) if detections > FEWEST else {}  # than COCO's mAP counts
    evaluator = dict(type='CocoMetricFromZero', ann_file=data.val_file, metric=metric, classwise=True, **more)
    augmented = {} if data.has_masks else dict(tta_model=box_tta(detections))
    return dict(val_dataloader=loader, val_evaluator=evaluator, **augmented)


def make_train_loader(plan: Plan) -> dict:
    """Returns the loader of the training, which is the value of ``train_dataloader``.

    The short side of an image is from 0.6 to 1.0 of the largest, as in mmdet's Swin 3x configs, without their crops.
    """
    short, long = plan.size
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=plan.data.has_masks),
        dict(type='RandomChoiceResize', scales=[(long, round(scale * short)) for scale in SCALES], keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]
    return dict(batch_size=plan.batch_size, batch_sampler=dict(type='AspectRatioBatchSampler'),
                dataset={**plan.data.train, 'pipeline': pipeline})
