"""Draws the input images of a model after augmentation, mixing and preprocessing, with their labels.

    mmvit data browse configs/demo/mask_rcnn_reswin_t.py
    mmvit data browse configs/imagenet_reswin_t.py --class-folder data/flowers_mini --number 8
"""
import argparse
from collections import Counter
from textwrap import fill

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import DATASETS, MODELS, VISUALIZERS, init_default_scope
from PIL import Image
from torch import Tensor

from ...data.checks import check_data
from ...errors import UsageError
from ...utils.config import VISUALIZERS as FRAMEWORKS_VISUALIZERS
from ...utils.config import load_config
from ...utils.file_configs import import_quietly
from ..arguments import add_config_options, add_data_arguments, data_options, positive
from ..custom_data import use_custom_data
from ..figures import draw_sheet, figure_file

CLASSES_SHOWN = 4


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of a config in this package')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train',
                        help='split to draw images from (default: %(default)s)')
    parser.add_argument('--number', type=positive, default=16, help='number of images (default: %(default)s)')
    parser.add_argument('--out', type=figure_file, default='data.png', help='figure to write (default: %(default)s)')
    add_data_arguments(parser)
    add_config_options(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options, ('model', f'{args.split}_dataloader'))
    if cfg.default_scope == 'mmpose':
        raise UsageError(f'{args.config} is a config of mmpose, which mmvit data browse does not support')
    use_custom_data(cfg, **data_options(args))
    check_data(cfg, [args.split])
    import_quietly(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    images, samples, metainfo = read_batch(cfg, args.split, args.number, args.seed or 0)
    draw_sheet([draw(cfg.default_scope, *pair, metainfo) for pair in zip(images, samples)], args.out)
    print(f'{len(images)} images of {args.split} -> {args.out}')


def read_batch(cfg: Config, split: str, number: int, seed: int) -> tuple[list[np.ndarray], list, dict]:
    """Returns RGB images ``(H, W, 3)`` from 0 to 255, their data samples, and the metainfo of the data set."""
    np.random.seed(seed)
    torch.manual_seed(seed)
    dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
    chosen = [dataset[int(i)] for i in np.random.permutation(len(dataset))[:number]]
    collate = default_collate if cfg.default_scope == 'mmpretrain' else pseudo_collate
    preprocessor = build_preprocessor(cfg)
    mean, std = (getattr(preprocessor, name, torch.tensor(value)) for name, value in (('mean', 0.), ('std', 1.)))
    images, samples = [], []
    # Training images are preprocessed as one batch, so that Mixup and CutMix apply. Test images may differ in size.
    for part in [chosen] if split == 'train' else [[sample] for sample in chosen]:
        batch = preprocessor(collate(part), training=split == 'train')
        pixels = [to_rgb(image, preprocessor) for image in (batch['inputs'] * std + mean).clamp(0, 255)]
        if split != 'train' and cfg.default_scope != 'mmpretrain':  # labels have the size of the image before Resize
            pixels = [to_original_size(*pair) for pair in zip(pixels, batch['data_samples'])]
        images += pixels
        samples += batch['data_samples']
    return images, samples, dataset.metainfo


def build_preprocessor(cfg: Config) -> torch.nn.Module:
    config = {**(cfg.get('data_preprocessor') or {}), **(cfg.model.get('data_preprocessor') or {})}
    if cfg.default_scope == 'mmpretrain':  # mmpretrain's classifiers pass Mixup and CutMix to the preprocessor
        config = dict(type='ClsDataPreprocessor', batch_augments=cfg.model.get('train_cfg'), **config)
    return MODELS.build(config)


def to_rgb(image: Tensor, preprocessor: torch.nn.Module) -> np.ndarray:
    image = image if image.shape[0] == 3 else image.mean(0).expand(3, -1, -1)
    swapped = getattr(preprocessor, 'to_rgb', False) or getattr(preprocessor, '_channel_conversion', False) or \
        getattr(preprocessor, 'channel_conversion', False)
    rgb = image if swapped else image.flip(0)
    return np.ascontiguousarray(rgb.permute(1, 2, 0).byte().numpy())


def to_original_size(image: np.ndarray, sample) -> np.ndarray:
    """Resizes a test image to the size of its labels."""
    height, width = sample.img_shape[:2]
    return np.array(Image.fromarray(image[:height, :width]).resize(sample.ori_shape[1::-1]))


def draw(framework: str, image: np.ndarray, sample, metainfo: dict) -> tuple[np.ndarray, str]:
    """Returns the image with its labels drawn, and a title."""
    if framework == 'mmpretrain':
        return image, describe_classes(sample, metainfo.get('classes'))
    visualizer = VISUALIZERS.build(dict(type=FRAMEWORKS_VISUALIZERS[framework], name='data'))
    visualizer.dataset_meta = metainfo
    visualizer.add_datasample('data', image, sample.cpu(), draw_gt=True, draw_pred=False)
    return visualizer.get_image(), count_classes(sample, metainfo.get('classes'))


def count_classes(sample, classes: tuple | None) -> str:
    """Returns the numbers of objects of the most frequent classes as text, or '' for models other than detectors."""
    if 'gt_instances' not in sample or not classes:
        return ''
    counts = Counter(classes[label] for label in sample.gt_instances.labels.tolist()).most_common()
    shown = [f'{number} {name}' for name, number in counts[:CLASSES_SHOWN]]
    return fill(', '.join(shown + ['...'] * (len(counts) > CLASSES_SHOWN)), 45)


def describe_classes(sample, classes: tuple | None) -> str:
    """Returns the classes of an image as text; for a mixed image, the two classes with the highest scores."""
    if 'gt_score' not in sample:
        labels = {int(label): None for label in sample.gt_label}
    else:
        scores, labels = sample.gt_score.topk(min(2, len(sample.gt_score)))
        labels = {label: score for label, score in zip(labels.tolist(), scores.tolist()) if score > 0.01}
    named = {classes[label] if classes else label: score for label, score in labels.items()}
    return '\n'.join(f'{name} {score:.0%}' if score is not None and score < 0.99 else f'{name}'
                     for name, score in named.items())
