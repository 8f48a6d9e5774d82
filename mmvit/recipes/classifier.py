"""A classifier of mmpretrain for fine-tuning: the network's published pooling and head, or average pooling.

Images ``(B, 3, height, width)`` give logits ``(B, classes)``.
"""
from dataclasses import asdict

from mmvit_backbones.zoo.building import model_config

from .plan import Plan

BATCH_SIZE, LR, LR_OF_RANDOM_WEIGHTS = 16, 2e-3, 5e-4
IMPORTS = ()
MAGNITUDE = 5  # of RandAugment; 9 in mmpretrain's recipe of Swin, from random weights on ImageNet
ERASING, ERASES_FROM = 0.25, 50  # probability of random erasing, and the epochs from which it is used
LABEL_SMOOTHING = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')


def make_frame(plan: Plan) -> dict:
    """Returns mmpretrain's default runtime."""
    return dict(_base_=['mmpretrain::_base_/default_runtime.py'])


def make_model(plan: Plan) -> dict:
    """Returns ``data_preprocessor`` and ``model``."""
    network, classes = plan.network, len(plan.data.classes)
    head: dict = dict(type='LinearClsHead', init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02))
    if network.variant:
        published = model_config(network.variant, 'classification')
        backbone = {**network.backbone, **network.variant.family.classifier}
        neck, head = published['neck'], published['head']
        if (neck or {}).get('type') == 'LayerNormPooling' and 'init_cfg' in backbone:
            neck = {**neck, 'init_cfg': backbone['init_cfg']}  # all that the weights bring but the last layer
    elif network.backbone['type'] == 'TimmBackbone':
        backbone, neck = network.backbone, None
        head['in_channels'] = network.call_built(lambda built: built.channels[-1])
    else:
        backbone, neck = network.backbone, dict(type='GlobalAveragePooling')
        head['in_channels'] = network.find_maps(224)[-1][0]  # all that some networks take
    head = {**head, 'num_classes': classes, 'loss': LABEL_SMOOTHING}
    return dict(
        data_preprocessor=dict(**asdict(network.images), num_classes=classes),
        model=dict(type='ImageClassifier', backbone=backbone, **(dict(neck=neck) if neck else {}), head=head))


def make_pipelines(size: tuple[int, int], has_masks: bool) -> dict:
    """Returns ``test_pipeline``, for crops of this height and width in pixels; ``has_masks`` is not used."""
    height, width = size
    return dict(test_pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='ResizeToCover', scale=(round(width * 256 / 224), round(height * 256 / 224)), backend='pillow',
             interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=(width, height)),
        dict(type='PackInputs'),
    ])


def make_evaluation(plan: Plan, pipeline: list) -> dict:
    """Returns ``val_dataloader`` and ``val_evaluator`` for the steps of a test pipeline."""
    loader = dict(batch_size=16, dataset={**plan.data.val, 'pipeline': pipeline})
    topk = (1, 5) if len(plan.data.classes) > 5 else (1, )  # of five, all are right
    return dict(val_dataloader=loader, val_evaluator=[dict(type='Accuracy', topk=topk), dict(type='PerClassAccuracy')])


def make_train_loader(plan: Plan) -> dict:
    """Returns the loader of the training, which is the value of ``train_dataloader``.

    The mean of the images, as gray, fills what is moved into an image. In long trainings, parts of images are erased.
    """
    images = plan.network.images
    mean, std = (values[::-1] if images.to_rgb else values for values in (images.mean, images.std))  # BGR
    erasing = dict(type='RandomErasing', erase_prob=ERASING, mode='rand', min_area_ratio=0.02, max_area_ratio=1 / 3,
                   fill_color=mean, fill_std=std)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=plan.size, crop_ratio_range=(0.5, 1.0), backend='pillow',
             interpolation='bicubic'),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10, magnitude_level=MAGNITUDE,
             magnitude_std=0.5, hparams=dict(pad_val=[round(value) for value in mean], interpolation='bicubic')),
        *([erasing] if plan.epochs >= ERASES_FROM else []),
        dict(type='PackInputs'),
    ]
    return dict(batch_size=plan.batch_size, dataset={**plan.data.train, 'pipeline': pipeline})
