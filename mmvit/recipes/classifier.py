"""A classifier of mmpretrain for fine-tuning: the network's published pooling and head, or average pooling.

Images ``(B, 3, height, width)`` give logits ``(B, classes)``.
"""
from collections.abc import Mapping
from dataclasses import asdict, replace

from mmvit_backbones.zoo.building import model_config

from ..folders import FolderData
from .networks import Network

BATCH_SIZE, LR_OF_RANDOM_WEIGHTS = 16, 5e-4
IMPORTS = ()
MAGNITUDE = 5  # of RandAugment; 9 in mmpretrain's recipe of Swin, from random weights on ImageNet
ERASING, ERASES_FROM = 0.25, 50  # probability of random erasing, and the epochs from which it is used
LABEL_SMOOTHING = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')


def make_frame(data: FolderData) -> dict:
    """Returns mmpretrain's default runtime."""
    return dict(_base_=['mmpretrain::_base_/default_runtime.py'])


def make_model(network: Network, data: FolderData) -> dict:
    """Returns ``data_preprocessor`` and ``model``.

    Args:
        network (Network): The network; the settings have its backbone, the channels of its maps, and its mean and
            standard deviation.
        data (FolderData): The data; the settings have its number of classes.
    """
    head: dict = dict(type='LinearClsHead', init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02))
    if network.variant:
        published = model_config(network.variant, 'classification')
        backbone = {**network.backbone, **network.variant.family.classifier}
        neck, head = published['neck'], published['head']
        if (neck or {}).get('type') == 'LayerNormPooling' and 'init_cfg' in backbone:
            neck = {**neck, 'init_cfg': backbone['init_cfg']}  # all that the weights bring but the last layer
    elif network.backbone['type'] == 'TimmBackbone':
        backbone, neck = {**network.backbone, 'out_type': 'pre_logits'}, None  # with timm's own pooling
        head['in_channels'] = replace(network, backbone=backbone).call_built(lambda built: built.channels[-1])
    else:
        backbone, neck = network.backbone, dict(type='GlobalAveragePooling')
        head['in_channels'] = network.find_maps(224)[-1][0]  # all that some networks take
    head = {**head, 'num_classes': len(data.classes), 'loss': LABEL_SMOOTHING}
    return dict(
        data_preprocessor=dict(**asdict(network.images), num_classes=len(data.classes)),
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


def make_evaluation(data: FolderData, pipeline: list, model: Mapping) -> dict:
    """Returns ``val_dataloader`` and ``val_evaluator``.

    Args:
        data (FolderData): The data.
        pipeline (list): Steps of the images.
        model (Mapping): Not used.
    """
    loader = dict(batch_size=16, dataset={**data.val, 'pipeline': pipeline})
    topk = (1, 5) if len(data.classes) > 5 else (1, )  # of five, all are right
    return dict(val_dataloader=loader, val_evaluator=[dict(type='Accuracy', topk=topk), dict(type='PerClassAccuracy')])


def make_train_loader(data: FolderData, size: tuple[int, int], batch_size: int, network: Network, epochs: int) -> dict:
    """Returns the loader of the training, which is the value of ``train_dataloader``.

    Args:
        data (FolderData): The data.
        size (tuple[int, int]): Height and width of the crops in pixels.
        batch_size (int): Images per process and step.
        network (Network): The network; its mean, as gray, fills what is moved into an image.
        epochs (int): Length of the training; in long ones, parts of images are erased.
    """
    images = network.images
    mean, std = (values[::-1] if images.to_rgb else values for values in (images.mean, images.std))  # BGR
    erasing = dict(type='RandomErasing', erase_prob=ERASING, mode='rand', min_area_ratio=0.02, max_area_ratio=1 / 3,
                   fill_color=mean, fill_std=std)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.5, 1.0), backend='pillow',
             interpolation='bicubic'),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='RandAugment', policies='timm_increasing', num_policies=2, total_level=10, magnitude_level=MAGNITUDE,
             magnitude_std=0.5, hparams=dict(pad_val=[round(value) for value in mean], interpolation='bicubic')),
        *([erasing] if epochs >= ERASES_FROM else []),
        dict(type='PackInputs'),
    ]
    return dict(batch_size=batch_size, dataset={**data.train, 'pipeline': pipeline})
