"""Segmenters of mmseg for fine-tuning, with a linear head on all maps.

Images ``(B, 3, height, width)`` give logits ``(B, classes, height, width)``.
"""
import math
from collections.abc import Sequence
from importlib import import_module

from .plan import Plan

BATCH_SIZE, LR, LR_OF_RANDOM_WEIGHTS = 4, 2e-3, 1e-3
MOST_WEIGHT = 10.  # of a class
HEAD = 'mmvit_backbones.integrations.linear_decode_head'  # registers the decode head and its loss; needs mmseg
IMPORTS = (HEAD, )


def make_frame(plan: Plan) -> dict:
    """Returns mmseg's default runtime; MMEngine does not find mmseg's base files if a fork of mmseg is installed."""
    return dict(
        default_scope='mmseg',
        env_cfg=dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
                     dist_cfg=dict(backend='nccl')),
        visualizer=dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'))


def make_model(plan: Plan) -> dict:
    """Returns ``model``."""
    import_module(HEAD)
    images, (channels, strides, neck) = plan.network.images, plan.network.make_pyramid(4)
    return dict(model=dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=images.mean, std=images.std, bgr_to_rgb=images.to_rgb, pad_val=0,
            seg_pad_val=255, size_divisor=1,
            test_cfg=dict(size_divisor=int(max(strides)))),  # so that the cells of all maps cover equal areas
        backbone=plan.network.backbone, **(dict(neck=neck) if neck else {}),
        decode_head=dict(type='LinearDecodeHead', in_channels=channels, num_classes=len(plan.data.classes),
                         align_corners=False, loss_decode=dict(
                             type='LabeledCrossEntropy', class_weight=weigh_classes(plan.data.count_pixels()))),
        train_cfg=dict(), test_cfg=dict(mode='whole')))


def weigh_classes(pixels: Sequence[int]) -> list[float]:
    """Returns the weights of classes with so many pixels: the square root of the inverse frequency, 1 for the largest.

    On streets of CamVid, with poles and signs as one class of 2 % of the pixels, its IoU gains 9.5 in the mean of three
    networks and two folds, and with all classes the mean IoU 1.8 (docs/recipes.csv).
    """
    most = max(pixels)
    return [round(min(math.sqrt(most / count), MOST_WEIGHT) if count else MOST_WEIGHT, 2) for count in pixels]


def make_pipelines(size: tuple[int, int], has_masks: bool) -> dict:
    """Returns ``test_pipeline``, and ``tta_pipeline`` of test-time augmentation.

    Args:
        size (tuple[int, int]): Height and width of the crops in pixels; the smaller one is the short side of whole
            images, of either orientation.
        has_masks (bool): Not used.
    """
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackSegInputs')
    resize = dict(type='Resize', scale=(4 * max(size), min(size)), keep_ratio=True)
    annotate = dict(type='LoadAnnotations')  # after Resize, so that the masks keep their size
    flips = [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)]  # the first has the ground truth
    return dict(
        test_pipeline=[load, resize, annotate, pack],
        tta_pipeline=[load, dict(type='TestTimeAug', transforms=[[resize], flips, [annotate], [pack]])])


def make_evaluation(plan: Plan, pipeline: list) -> dict:
    """Returns ``val_dataloader`` and ``val_evaluator`` for a test pipeline, and ``tta_model`` of the augmented test."""
    return dict(val_dataloader=dict(batch_size=1, dataset={**plan.data.val, 'pipeline': pipeline}),
                val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']), tta_model=dict(type='SegTTAModel'))


def make_train_loader(plan: Plan) -> dict:
    """Returns the loader of the training, which is the value of ``train_dataloader``, with mmseg's augmentation."""
    height, width = plan.size
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='RandomResize', scale=(4 * max(plan.size), min(plan.size)), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=plan.size, cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        dict(type='Pad', size=(width, height), pad_val=dict(img=0, seg=255)),
        dict(type='PackSegInputs'),
    ]
    return dict(batch_size=plan.batch_size, dataset={**plan.data.train, 'pipeline': pipeline})
