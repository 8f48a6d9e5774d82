"""Mask R-CNN or Faster R-CNN of mmdet for fine-tuning, with group norms, which work with any batch size.

Images ``(B, 3, height, width)``, padded to the largest of a batch, give boxes ``(N, 4)`` in pixels, scores and labels,
and masks if the data has some.
"""
import math
from collections.abc import Mapping

from ..configs.openmmlab_scripts import box_tta
from ..folders import FolderData
from .networks import Network

BATCH_SIZE, LR_OF_RANDOM_WEIGHTS = 2, 5e-4
IMPORTS = ()
STRIDES = [4, 8, 16, 32, 64]  # of mmdet's anchors, and the first four of its RoIs
NORM = dict(type='GN', num_groups=32)
SCALES = [percent / 100 for percent in range(60, 101, 4)]  # of the short side, as in the Swin 3x configs of mmdet
FEWEST, MOST = 100, 1000  # detections in an image that a model returns


def make_frame(data: FolderData) -> dict:
    """Returns mmdet's settings of the model, and its default runtime."""
    model = 'mask-rcnn_r50_fpn' if data.has_masks else 'faster-rcnn_r50_fpn'
    return dict(_base_=[f'mmdet::_base_/models/{model}.py', 'mmdet::_base_/default_runtime.py'])


def make_model(network: Network, data: FolderData, light: bool = False, precision: str = 'float32') -> dict:
    """Returns ``model``, with what it has in place of mmdet's settings.

    Args:
        network (Network): The network; the settings have its backbone, the channels of its maps, and its mean and
            standard deviation.
        data (FolderData): The data; the settings have its number of classes, and find as many objects as in an
            image of it, rounded up to a hundred.
        light (bool): Whether mask heads are half as wide, and fewer proposals are used. Defaults to False.
        precision (str): Of the training. In bfloat16, for which mmcv has no kernel, torchvision pools boxes. Defaults
            to 'float32'.
    """
    channels, strides, neck = network.make_pyramid(len(STRIDES))
    neck = dict(_delete_=True, **neck) if neck else dict(in_channels=channels, norm_cfg=NORM)
    roi_head: dict = dict(bbox_head=dict(num_classes=len(data.classes)))
    if data.has_masks:
        width = dict(conv_out_channels=128) if light else {}
        roi_head['mask_head'] = dict(num_classes=len(data.classes), **width, norm_cfg=NORM)
    anchors: dict = {}
    extractor: dict = {}
    if strides != STRIDES:
        anchors = dict(rpn_head=dict(anchor_generator=dict(strides=strides)))
        extractor = dict(featmap_strides=strides[:4])
    if precision == 'bfloat16':
        extractor['roi_layer'] = dict(use_torchvision=True)
    if extractor:
        roi_head |= {f'{part}_roi_extractor': extractor for part in (['bbox', 'mask'] if data.has_masks else ['bbox'])}
    images = network.images
    detections = min(max(100 * math.ceil(data.most_objects / 100), FEWEST), MOST)
    return dict(model=dict(
        data_preprocessor=dict(mean=images.mean, std=images.std, bgr_to_rgb=images.to_rgb),
        backbone=dict(_delete_=True, **network.backbone),
        neck=neck, **anchors, roi_head=roi_head, **make_proposals(detections, light)))


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


def make_pipelines(size: tuple[int, int], has_masks: bool) -> dict:
    """Returns ``test_pipeline``, for images of at most this short and long side in pixels, which keep their ratio."""
    return dict(test_pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=size[::-1], keep_ratio=True),
        # after Resize, so that the boxes keep their size
        dict(type='LoadAnnotations', with_bbox=True, with_mask=has_masks),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    ])


def make_evaluation(data: FolderData, pipeline: list, model: Mapping) -> dict:
    """Returns ``val_dataloader`` and ``val_evaluator``, and for boxes alone, which mmdet merges, ``tta_model``.

    Args:
        data (FolderData): The data.
        pipeline (list): Steps of the images.
        model (Mapping): The model; if it returns more than 100 detections per image, mAP is also computed at that
            number, which the augmented test returns, too.
    """
    loader = dict(batch_size=1, dataset={**data.val, 'test_mode': True, 'pipeline': pipeline})
    metric = ['bbox', 'segm'] if data.has_masks else ['bbox']
    detections = model['test_cfg']['rcnn']['max_per_img']
    more = dict(max_dets=detections) if detections > FEWEST else {}  # than COCO's mAP counts
    evaluator = dict(type='CocoMetricFromZero', ann_file=data.val_file, metric=metric, classwise=True, **more)
    augmented = {} if data.has_masks else dict(tta_model=box_tta(detections))
    return dict(val_dataloader=loader, val_evaluator=evaluator, **augmented)


def make_train_loader(data: FolderData, size: tuple[int, int], batch_size: int, network: Network, epochs: int) -> dict:
    """Returns the loader of the training, which is the value of ``train_dataloader``.

    The short side of an image is from 0.6 to 1.0 of the largest, as in mmdet's Swin 3x configs, without their crops.

    Args:
        data (FolderData): The data.
        size (tuple[int, int]): Largest short and long side of the images in pixels; images keep their aspect ratio.
        batch_size (int): Images per process and step.
        network, epochs: Not used.
    """
    short, long = size
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=data.has_masks),
        dict(type='RandomChoiceResize', scales=[(long, round(scale * short)) for scale in SCALES], keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]
    return dict(batch_size=batch_size, batch_sampler=dict(type='AspectRatioBatchSampler'),
                dataset={**data.train, 'pipeline': pipeline})
