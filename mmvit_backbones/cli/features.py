"""Evaluates the frozen features of a network with a k-NN classifier and a linear probe."""
import argparse
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ..data.checks import check_data
from ..errors import UsageError
from ..inference.predictor import find_device
from ..inference.runtimes import build_model
from ..utils.config import load_config
from ..zoo import checks
from ..zoo.loading import load_weights, read_state
from . import dense_features
from .custom_data import data_options, use_custom_data
from .probes import find_loaders, print_accuracies
from .steps import set_size


def main(args: argparse.Namespace) -> None:
    check_scikit_learn()
    if args.seg_folder or args.coco_folder:
        dense_features.main(args)
        return
    cfg = load_config(args.config, args.cfg_options, ('model', 'train_dataloader', 'test_dataloader'))
    if cfg.default_scope != 'mmpretrain':
        raise UsageError(f"{args.config} must be the config of a classifier, with default_scope='mmpretrain', got "
                         f'default_scope={cfg.default_scope!r}')
    use_custom_data(cfg, **data_options(args))
    set_size(cfg, args)
    check_data(cfg, ['train', 'test'])
    checks.check_backbone(cfg)
    checkpoint = checks.choose_checkpoint(cfg, args.checkpoint, args.pretrained)
    model = load_model(cfg, checkpoint).to(find_device(args.device))
    loaders = find_loaders(cfg)
    number = len(loaders['train'].dataset)
    if max(args.neighbors) > number:
        raise UsageError(f'--neighbors must be at most {number}, the number of training images, got '
                         f'{max(args.neighbors)}')
    sets = {split: features_of(model, loader) for split, loader in loaders.items()}
    (train, labels), (test, truth) = sets.values()
    print(f'{len(train)} training images, {len(test)} test images, {train.shape[1]} features, weights: {checkpoint}')
    if args.save:
        np.savez(args.save, train=train, train_labels=labels, test=test, test_labels=truth)
    print_accuracies(train, labels, test, truth, args)


def check_scikit_learn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UsageError('mmvit features needs scikit-learn: pip install scikit-learn') from error


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Builds the classifier and loads the checkpoint's weights, except those of the head."""
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    model = build_model(cfg)
    weights = read_state(checkpoint, map_location='cpu')['state_dict']
    weights = {key: value for key, value in weights.items() if not key.startswith('head.')}
    head = {key: value for key, value in model.state_dict().items() if key.startswith('head.')}
    load_weights(model, weights | head, checkpoint)
    return model.eval()


@torch.inference_mode()
def features_of(model: Any, loader) -> tuple[np.ndarray, np.ndarray]:
    """Returns a classifier's features ``(N, C)`` of the images in a loader, and the labels ``(N,)``."""
    features, labels = [], []
    for batch in loader:
        batch = model.data_preprocessor(batch)
        found = model.extract_feat(batch['inputs'], stage='pre_logits')
        features.append(found.tokens[:, 0] if hasattr(found, 'tokens') else found)  # Refiner-ViT's class token
        labels += [int(sample.gt_label) for sample in batch['data_samples']]
    return torch.cat(features).float().cpu().numpy(), np.array(labels)
