"""Evaluates the frozen features of a network by k nearest neighbors and a linear probe.

    mmvit features configs/imagenet_vitaev2_s.py --pretrained --class-folder FOLDER
    mmvit features configs/imagenet_reswin_t.py CHECKPOINT --save features.npz

Features are the inputs of the classifier's linear layer. Those of the training images, without augmentation, predict
the labels of the test images by nearest neighbors, weighted with exp(cosine / 0.07) as for DINO (arXiv 2104.14294),
and by a logistic regression on standardized features. Both are scikit-learn's, and run on the CPU.
"""
import argparse
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from .. import accelerate
from ..data.checks import check_data
from ..errors import UsageError
from ..inference.predictor import find_device
from ..inference.runtimes import build_model
from ..utils.config import datasets_of, load_config
from ..zoo import checks
from ..zoo.converters.layout import unwrap
from ..zoo.loading import load_weights, read_state
from .arguments import (
    above_zero,
    add_config_options,
    add_data_arguments,
    add_pretrained_argument,
    data_options,
    output_file,
    positive,
)
from .custom_data import use_custom_data

TEMPERATURE = 0.07
FOLDS = 3


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="a classifier's config; its head is not used")
    parser.add_argument('checkpoint', nargs='?', help="file or http(s) address, in the authors' layout or in ours")
    add_pretrained_argument(parser)
    add_data_arguments(parser)
    parser.add_argument('--neighbors', type=positive, nargs='+', default=[20], metavar='K', help='default: 20')
    parser.add_argument('--regularization', type=above_zero, nargs='+', default=[0.001, 0.01, 0.1, 1.], metavar='C',
                        help="scikit-learn's C of the probe; of several, the best in three-fold cross-validation on "
                             'the training images (default: 0.001 0.01 0.1 1)')
    parser.add_argument('--save', type=output_file, metavar='FILE.npz', help='features and labels')
    parser.add_argument('--device', help='e.g. cpu or cuda:1 (default: the GPU if there is one)')
    add_config_options(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    check_arguments(args)
    cfg = load_config(args.config, args.cfg_options, ('model', 'train_dataloader', 'test_dataloader'))
    if cfg.default_scope != 'mmpretrain':
        raise UsageError(f'{args.config} has default_scope={cfg.default_scope!r}; allowed are classifiers, mmpretrain')
    use_custom_data(cfg, **data_options(args))
    check_data(cfg, ['train', 'test'])
    checks.check_backbone(cfg)
    checkpoint = checks.choose_checkpoint(cfg, args.checkpoint, args.pretrained)
    model = accelerate(load_model(cfg, checkpoint).to(find_device(args.device)), inference=True)
    sets = {split: features_of(model, loader) for split, loader in find_loaders(cfg).items()}
    (train, labels), (test, truth) = sets.values()
    print(f'{len(train)} images for training, {len(test)} for testing, {train.shape[1]} features, {checkpoint}')
    if args.save:
        np.savez(args.save, train=train, train_labels=labels, test=test, test_labels=truth)
    for neighbors in args.neighbors:
        if neighbors > len(train):
            raise UsageError(f'--neighbors must be at most {len(train)}, the number of training images, got '
                             f'{neighbors}')
        print(f'k-NN, k={neighbors}: top-1 {100 * nearest_neighbors(train, labels, test, truth, neighbors):.2f} %')
    accuracy, strength = linear_probe(train, labels, test, truth, args.regularization)
    print(f'linear probe, C={strength:g}: top-1 {100 * accuracy:.2f} %')


def check_arguments(args: argparse.Namespace) -> None:
    """Checks the arguments before anything is computed."""
    for option, values in (('--neighbors', args.neighbors), ('--regularization', args.regularization)):
        if min(values) <= 0:
            raise UsageError(f'{option} must be greater than 0, got {min(values)}')
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UsageError('k-NN and linear probe need scikit-learn: pip install scikit-learn') from error


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Builds the classifier with the weights of a checkpoint, except those of the head."""
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    model = build_model(cfg)
    weights = unwrap(read_state(checkpoint, map_location='cpu'))
    weights = {key: value for key, value in weights.items() if not key.startswith('head.')}
    head = {key: value for key, value in model.state_dict().items() if key.startswith('head.')}
    load_weights(model, weights | head, checkpoint)
    return model.eval()


def find_loaders(cfg: Config) -> dict:
    """Returns loaders of the training and test images, both with the test pipeline."""
    train = dict(datasets_of(cfg, 'train')[0], pipeline=datasets_of(cfg, 'test')[0]['pipeline'])
    return {'train': Runner.build_dataloader(dict(cfg.test_dataloader, dataset=train)),
            'test': Runner.build_dataloader(cfg.test_dataloader)}


@torch.inference_mode()
def features_of(model: Any, loader) -> tuple[np.ndarray, np.ndarray]:
    """Returns an mmpretrain classifier's features ``(N, C)`` of all images, and their labels ``(N,)``."""
    features, labels = [], []
    for batch in loader:
        batch = model.data_preprocessor(batch)
        found = model.extract_feat(batch['inputs'], stage='pre_logits')
        features.append(found.tokens[:, 0] if hasattr(found, 'tokens') else found)  # Refiner-ViT: the class token
        labels += [int(sample.gt_label) for sample in batch['data_samples']]
    return torch.cat(features).float().cpu().numpy(), np.array(labels)


def nearest_neighbors(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, number: int) -> float:
    """Returns the accuracy of a classifier by nearest neighbors."""
    from sklearn.neighbors import KNeighborsClassifier
    classifier = KNeighborsClassifier(number, metric='cosine')
    classifier.set_params(weights=lambda distance: np.exp(-distance / TEMPERATURE))
    return classifier.fit(train, labels).score(test, truth)


def linear_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray,
                 strengths: list[float]) -> tuple[float, float]:
    """Returns the accuracy of a linear classifier, and its regularization."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strengths[0], max_iter=1000))
    if len(strengths) == 1:
        return float(np.mean(probe.fit(train, labels).predict(test) == truth)), strengths[0]
    search = GridSearchCV(probe, {'logisticregression__C': strengths}, cv=FOLDS).fit(train, labels)
    return float(np.mean(search.predict(test) == truth)), search.best_params_['logisticregression__C']
