"""Fits the fine-tuning recipes in ``configs/_base_/finetune_*.py`` to a network and a folder of data."""
import argparse
import math
import os.path as osp

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from ..data.coco import read_coco
from ..data.coco_folder import has_masks
from ..errors import UsageError
from ..ops.dispatch import plain_pytorch
from ..utils.config import config_folder, datasets_of, dicts_in, named_configs, read_config
from ..zoo.variants import IMAGENET_MEAN, IMAGENET_STD, VARIANTS
from .schedule import scale_length

TASKS = dict(class_folder='classifier', coco_folder='detector', seg_folder='segmenter')
MOST_EPOCHS, FEWEST_EPOCHS, FEW_IMAGES = 100, 12, 1000
Maps = list[tuple[int, int]]  # channels and stride of each map


def is_network(name: str) -> bool:
    """Returns whether ``name`` is a network of ``mmvit models``, and not the name of a config or a file."""
    return name in VARIANTS and name not in named_configs() and not osp.isfile(name)


def read_run_config(args: argparse.Namespace) -> Config:
    """Returns the config that ``args.config`` names; for a network, the fine-tuning recipe for the data folder.

    Raises:
        UsageError: If the config cannot be read, or there is no data folder for a network.
    """
    if not is_network(args.config):
        return read_config(args.config, args.needs)
    flags = [name for name in TASKS if getattr(args, name)]
    if not flags:
        raise UsageError(f'{args.config} is a network; its task follows from the data: pass --class-folder, '
                         '--coco-folder or --seg-folder, or the name of a config, e.g. '
                         f'mask_rcnn_{VARIANTS[args.config].short_name}')
    variant, task = VARIANTS[args.config], TASKS[flags[0]]
    cfg = read_recipe(task, args.config)
    use_backbone(cfg, variant.backbone, variant.family.mean, variant.family.std)
    cfg.model.backbone.drop_path_rate = 0. if getattr(args, 'no_pretrained', True) else 0.1
    if task == 'classifier':  # with the published pooling and head
        model = variant.model_config('classification')
        cfg.model.neck = model['neck']
        cfg.model.head = dict(model['head'], loss=cfg.model.head.loss)
        cfg.model.backbone.update(variant.family.classifier)
    if task == 'detector' and not trains_masks(args):
        remove_masks(cfg)
    return cfg


def read_recipe(task: str, network: str) -> Config:
    """Returns a recipe without a network, with a file name that tells the network and the task."""
    cfg = read_config(str(config_folder() / f'_base_/finetune_{task}.py'))
    if not torch.cuda.is_available():
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.update(num_workers=0)
    return Config(cfg.to_dict(), cfg_text=cfg.text, filename=f'{network}_{task}.py')


def use_backbone(cfg: Config, backbone: dict, mean: list[float] = IMAGENET_MEAN, std: list[float] = IMAGENET_STD
                 ) -> None:
    """Sets the backbone of a recipe, and fits preprocessing, neck and heads to its maps.

    Backbones with a single map, or maps of a single stride, get a simple feature pyramid.
    """
    cfg.model.backbone = ConfigDict(backbone)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.setdefault('data_preprocessor', {})
    preprocessor.update(mean=mean, std=std)
    fit_heads(cfg, maps_of(backbone))


def fit_heads(cfg: Config, maps: Maps) -> None:
    """Sets the channels of neck and heads for maps of these channels and strides.

    Raises:
        UsageError: If the model has neither a feature pyramid nor a decode head, whose channels could be set.
    """
    channels, strides = [list(part) for part in zip(*maps)]
    model = cfg.model
    if cfg.default_scope == 'mmpretrain':
        model.head.in_channels = channels[-1]
        return
    if len(set(strides)) == 1:
        model.neck = ConfigDict(type='SimpleFeaturePyramid', in_channels=channels[-1],
                                num_outs=5 if cfg.default_scope == 'mmdet' else 4)
        channels = [256] * 4
    elif cfg.default_scope == 'mmdet':
        if 'in_channels' not in (model.get('neck') or {}):
            raise UsageError(f'{cfg.filename} must have a neck with in_channels, such as FPN, to take another backbone')
        model.neck.in_channels = channels
    if cfg.default_scope == 'mmseg':
        if 'decode_head' not in model:
            raise UsageError(f'{cfg.filename} must have a decode_head to take another backbone')
        model.decode_head.in_channels = channels
        if 'in_index' in model.decode_head:
            model.decode_head.in_index = list(range(len(channels)))
        if model.get('auxiliary_head'):
            model.auxiliary_head.update(in_channels=channels[2], in_index=2)


def maps_of(backbone: dict) -> Maps:
    """Returns the channels and the stride of each map of a backbone, which is built on the meta device."""
    without_weights = {key: value for key, value in backbone.items() if key not in ('init_cfg', 'pretrained')}
    with torch.device('meta'), torch.no_grad(), plain_pytorch():
        network = MODELS.build(without_weights)
        network.eval()  # mmdet's backbones return nothing
        maps = network(torch.empty(1, 3, 224, 224))
    return [(x.shape[1], round(224 / x.shape[3])) for x in maps]


def trains_masks(args: argparse.Namespace) -> bool:
    """Returns whether a detector is trained with masks."""
    if getattr(args, 'boxes', False):
        return False
    return has_masks(args.coco_folder, val_fraction=getattr(args, 'val_fraction', None))


def remove_masks(cfg: Config) -> None:
    """Turns Mask R-CNN into Faster R-CNN, for data without masks."""
    cfg.model.type = 'FasterRCNN'
    cfg.model.data_preprocessor.pad_mask = False
    for key in ('mask_head', 'mask_roi_extractor'):
        cfg.model.roi_head.pop(key)
    for node in dicts_in([cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader]):
        if node.get('type') == 'LoadAnnotations':
            node['with_mask'] = False
    for metric in (cfg.val_evaluator, cfg.test_evaluator):
        metric.metric = 'bbox'


def set_length(cfg: Config, epochs: int | None, iters: int | None, images_per_step: int) -> None:
    """Sets the length of a fine-tuning, and scales the schedule and the intervals of evaluations to it.

    The share of the warm-up is kept exactly, because fine-tunings are often shorter than ten epochs.

    Args:
        cfg (Config): Recipe with custom data, changed in place.
        epochs (int | None): Number of epochs. Defaults to None: 100 for up to 1000 images, then less, but at least 12.
        iters (int | None): Number of steps, rounded up to whole epochs.
        images_per_step (int): Number of images per step in all processes.
    """
    images = number_of_images(cfg)
    steps_per_epoch = math.ceil(images / images_per_step)
    if epochs is None:
        epochs = math.ceil(iters / steps_per_epoch) if iters else epochs_for(images)
    warm_up, decay = cfg.param_scheduler
    share, steps = warm_up.end / cfg.train_cfg.max_epochs, epochs * steps_per_epoch
    scale_length(cfg, 'epochs', epochs)
    in_steps = dict(by_epoch=False, convert_to_iter_based=False)
    start = round(share * steps)
    warm_up.update(in_steps, end=start)
    decay.update(in_steps, begin=start, end=steps)
    if start < 2:  # MMEngine's warm-up would stay at its first rate
        decay.begin = 0
        cfg.param_scheduler = [decay]


def number_of_images(cfg: Config) -> int:
    """Returns the number of training images of a recipe with custom data; for detectors, of those with annotations."""
    dataset, = datasets_of(cfg, 'train')
    file = osp.join(dataset.get('data_root') or '', dataset['ann_file'])
    if file.endswith('.json'):
        return len({each['image_id'] for each in read_coco(file)['annotations']})
    with open(file, encoding='utf-8') as lines:
        return sum(bool(line.strip()) for line in lines)


def epochs_for(images: int) -> int:
    """Returns the number of epochs of a fine-tuning: 100 for up to 1000 images, then less, but at least 12."""
    epochs = round(MOST_EPOCHS * math.sqrt(FEW_IMAGES / max(images, FEW_IMAGES)))
    return max(FEWEST_EPOCHS, epochs)
