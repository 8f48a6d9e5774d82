"""Mask R-CNN or Faster R-CNN of mmdet for fine-tuning, with group norms, which work with any batch size.

Images ``(B, 3, height, width)``, padded to the largest of a batch, give boxes ``(N, 4)`` in pixels, scores and labels,
and masks if the data has some.
"""
from ..folders import FolderData
from .networks import Network

BATCH_SIZE, LR, LR_OF_RANDOM_WEIGHTS = 2, 5e-5, 5e-4
SIZE = 800, 1333
NORM = dict(type='GN', num_groups=32)


def frame(data: FolderData) -> dict:
    """Returns mmdet's settings of the model, and its default runtime."""
    model = 'mask-rcnn_r50_fpn' if data.has_masks else 'faster-rcnn_r50_fpn'
    return dict(_base_=[f'mmdet::_base_/models/{model}.py', 'mmdet::_base_/default_runtime.py'])


def model(network: Network, data: FolderData) -> dict:
    """Returns ``model``, with what it has in place of mmdet's settings.

    Args:
        network (Network): The network; the settings have its backbone, the channels of its maps, and its mean and
            standard deviation.
        data (FolderData): The data; the settings have its number of classes.
    """
    channels, strides = zip(*network.maps)
    neck = dict(in_channels=list(channels), norm_cfg=NORM)
    if len(set(strides)) == 1:  # a plain network
        neck = dict(_delete_=True, type='SimpleFeaturePyramid', in_channels=channels[-1], num_outs=5)
    roi_head: dict = dict(bbox_head=dict(num_classes=len(data.classes)))
    if data.has_masks:
        roi_head['mask_head'] = dict(num_classes=len(data.classes), conv_out_channels=128, norm_cfg=NORM)
    return dict(model=dict(
        data_preprocessor=dict(mean=network.mean, std=network.std),
        backbone=dict(_delete_=True, **network.backbone),
        neck=neck, roi_head=roi_head,
        train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=500), rcnn=dict(sampler=dict(num=128))),
        test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=500))))


def tests(data: FolderData, size: tuple[int, int]) -> dict:
    """Returns the loader and the evaluator of the validation, and those of the test.

    The keys are ``val_dataloader``, ``val_evaluator``, ``test_dataloader`` and ``test_evaluator``.

    Args:
        data (FolderData): The data.
        size (tuple[int, int]): Largest short and long side of the images in pixels; images keep their aspect ratio.
    """
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=size[::-1], keep_ratio=True),
        # after Resize, so that the boxes keep their size
        dict(type='LoadAnnotations', with_bbox=True, with_mask=data.has_masks),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    ]
    loader = dict(batch_size=1, dataset={**data.val, 'test_mode': True, 'pipeline': pipeline})
    evaluator = dict(type='CocoMetric', ann_file=data.val_file, metric=['bbox', 'segm'] if data.has_masks else ['bbox'],
                     classwise=True)
    return dict(val_dataloader=loader, val_evaluator=evaluator, test_dataloader=loader, test_evaluator=evaluator)


def training(data: FolderData, size: tuple[int, int], batch_size: int) -> dict:
    """Returns the loader of the training, which is the value of ``train_dataloader``.

    Args:
        data (FolderData): The data.
        size (tuple[int, int]): Largest short and long side of the images in pixels; images keep their aspect ratio.
        batch_size (int): Images per process and step.
    """
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=data.has_masks),
        dict(type='Resize', scale=size[::-1], keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]
    return dict(batch_size=batch_size, batch_sampler=dict(type='AspectRatioBatchSampler'),
                dataset={**data.train, 'filter_cfg': dict(filter_empty_gt=True), 'pipeline': pipeline})
