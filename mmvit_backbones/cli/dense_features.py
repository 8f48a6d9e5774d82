"""Evaluates frozen feature maps: a linear classifier per pixel, and classifiers of pooled boxes."""
import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from ..data.checks import check_data
from ..errors import UsageError
from ..inference.predictor import find_device
from ..utils.config import apply_options
from ..utils.frameworks import import_quietly
from ..zoo import checks
from ..zoo.loading import load_backbone
from .custom_data import data_options, use_custom_data
from .finetune import is_network, read_run_config
from .probes import find_loaders, fitted_probe, print_accuracies
from .steps import set_size

PIXELS, IGNORED = 200, 255  # pixels per training image; label of pixels without a class


def main(args: argparse.Namespace) -> None:
    args.needs = ('model', 'train_dataloader', 'test_dataloader')
    cfg = read_run_config(args)
    apply_options(cfg, args.cfg_options)
    use_custom_data(cfg, **data_options(args))
    set_size(cfg, args)
    check_data(cfg, ['train', 'test'])
    if is_network(args.config) and not args.checkpoint:
        weights = checks.official_name(args.config, args.pretrained or True)
    else:
        weights = checks.choose_checkpoint(cfg, args.checkpoint, args.pretrained)
    backbone, preprocessor = build(cfg, weights, args.device)
    args.stages = args.stages or [*range(backbone.num_stages)][-2:]
    if max(args.stages) >= backbone.num_stages:
        raise UsageError(f'--stages must be from 0 to {backbone.num_stages - 1}, got {args.stages}')
    probe = probe_pixels if args.seg_folder else probe_boxes
    print(f'stages {", ".join(map(str, args.stages))}, weights: {weights}')
    saved = probe(cfg, args, backbone, preprocessor)
    if args.save:
        np.savez(args.save, **saved)


def build(cfg: Config, weights: str, device: str | None) -> tuple[Any, nn.Module]:
    """Returns the frozen backbone, which returns all maps, and the preprocessor of the images."""
    import_quietly(cfg.default_scope)
    init_default_scope(cfg.default_scope)
    backbone = checks.check_backbone(cfg)
    if backbone is None:
        raise UsageError(f'{cfg.filename} must have a backbone of mmvit_backbones.list_models()')
    unused = 'init_cfg', 'out_indices', 'drop_path_rate'
    backbone = MODELS.build({key: value for key, value in cfg.model.backbone.items() if key not in unused})
    load_backbone(backbone, weights)
    preprocessor = {**(cfg.get('data_preprocessor') or {}), **(cfg.model.get('data_preprocessor') or {})}
    return backbone.to(find_device(device)).eval(), MODELS.build(preprocessor).to(find_device(device))


def images_of(cfg: Config, split: str, backbone: nn.Module, preprocessor: nn.Module, stages: list[int]
              ) -> Iterator[tuple[list[Tensor], Any]]:
    """Yields the maps ``(1, C, H, W)`` of the chosen stages, and the data sample, of each image of a split."""
    for batch in find_loaders(cfg)[split]:
        batch = preprocessor(batch, False)
        maps = backbone(batch['inputs'])
        for index, sample in enumerate(batch['data_samples']):
            yield [maps[stage][index:index + 1].float() for stage in stages], sample


# ---- pixels


@torch.inference_mode()
def probe_pixels(cfg: Config, args: argparse.Namespace, backbone: nn.Module, preprocessor: nn.Module) -> dict:
    """Fits a linear classifier to pixels of the training images, and prints its mean IoU on the test images.

    The maps are resized to that of the first chosen stage and concatenated, and the scores are resized to the image.
    """
    generator, vectors, labels, saved = torch.Generator().manual_seed(0), [], [], {}
    for maps, sample in images_of(cfg, 'train', backbone, preprocessor, args.stages):
        joined, truth = join(maps).flatten(1).cpu(), sample.gt_sem_seg.data
        grid = F.interpolate(truth[None].float(), size=maps[0].shape[2:]).flatten().long().cpu()
        known = (grid != IGNORED).nonzero().flatten()
        chosen = known[torch.randperm(len(known), generator=generator)[:PIXELS]]
        vectors.append(joined[:, chosen].T)
        labels.append(grid[chosen])
        keep(args, saved, 'train', sample, joined.reshape(-1, *maps[0].shape[2:]))
    probe, strength = fitted_probe(torch.cat(vectors).numpy(), torch.cat(labels).numpy(), args.regularization)
    classes = len(cfg.test_dataloader.dataset.metainfo.classes)
    confusion = np.zeros((classes, classes), np.int64)
    for maps, sample in images_of(cfg, 'test', backbone, preprocessor, args.stages):
        joined, truth = join(maps).flatten(1).cpu(), sample.gt_sem_seg.data[0].cpu().numpy()
        scores = probe.decision_function(joined.T.numpy())
        if scores.ndim == 1:  # two classes
            scores = np.stack([-scores, scores], axis=1)
        scores = torch.from_numpy(scores.T).reshape(1, -1, *maps[0].shape[2:])
        best = F.interpolate(scores, size=truth.shape, mode='bilinear', align_corners=False)[0].argmax(0).numpy()
        known = truth != IGNORED
        np.add.at(confusion, (truth[known], probe.classes_[best[known]]), 1)
        keep(args, saved, 'test', sample, joined.reshape(-1, *maps[0].shape[2:]))
    hits, total = np.diag(confusion), confusion.sum(0) + confusion.sum(1)
    iou = hits[total > 0] / (total - hits)[total > 0]
    print(f'linear probe per pixel, C={strength:g}: mIoU {100 * iou.mean():.2f} %, '
          f'{100 * hits.sum() / confusion.sum():.2f} % of the pixels')
    return saved


def join(maps: list[Tensor]) -> Tensor:
    """Returns the concatenated maps ``(C, H, W)``, in the size of the first."""
    size = maps[0].shape[2:]
    return torch.cat([F.interpolate(x, size=size, mode='bilinear', align_corners=False) for x in maps], 1)[0]


def keep(args: argparse.Namespace, saved: dict, split: str, sample, value: Tensor) -> None:
    if args.save:
        saved[f'{split}/{Path(sample.img_path).stem}'] = value.half().cpu().numpy()


# ---- boxes


@torch.inference_mode()
def probe_boxes(cfg: Config, args: argparse.Namespace, backbone: nn.Module, preprocessor: nn.Module) -> dict:
    """Prints the accuracy of a k-NN classifier and a linear probe of the mean features in annotated boxes."""
    from mmcv.ops import roi_align
    sets = {}
    for split in ('train', 'test'):
        vectors, labels, boxes, names = [], [], [], []
        for maps, sample in images_of(cfg, split, backbone, preprocessor, args.stages):
            found = sample.gt_instances
            corners = getattr(found.bboxes, 'tensor', found.bboxes).to(maps[0])
            scale = maps[0].new_tensor(sample.scale_factor).repeat(2)
            rois = torch.cat([corners.new_zeros(len(corners), 1), corners * scale], 1)
            height = sample.batch_input_shape[0]
            vectors.append(torch.cat([
                roi_align(x, rois, (7, 7), x.shape[2] / height, 2, 'avg', True).mean((2, 3)) for x in maps], 1).cpu())
            labels.append(found.labels.cpu())
            boxes.append(corners.cpu())
            names += [Path(sample.img_path).name] * len(corners)
        sets[split] = [torch.cat(vectors).numpy(), torch.cat(labels).numpy(), torch.cat(boxes).numpy(), names]
    (train, labels, *_), (test, truth, *_) = sets.values()
    print(f'{len(train)} training boxes, {len(test)} test boxes, {train.shape[1]} features')
    print_accuracies(train, labels, test, truth, args)
    return {f'{split}_{name}': value for split, values in sets.items()
            for name, value in zip(('embeddings', 'labels', 'boxes', 'images'), values)}
