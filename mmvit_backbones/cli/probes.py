"""Classifiers of frozen features: k-NN and linear probes of scikit-learn."""
import argparse
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import UsageError
from ..utils.config import datasets_of

TEMPERATURE = 0.07
FOLDS = 3


def find_loaders(cfg: Config) -> dict:
    """Returns the data loaders of the training and test images, both with the test pipeline."""
    train = dict(datasets_of(cfg, 'train')[0], pipeline=datasets_of(cfg, 'test')[0]['pipeline'])
    return {'train': Runner.build_dataloader(dict(cfg.test_dataloader, dataset=train)),
            'test': Runner.build_dataloader(cfg.test_dataloader)}


def print_accuracies(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray,
                     args: argparse.Namespace) -> None:
    """Prints the accuracy of the k-NN classifiers and of the linear probe."""
    for neighbors in args.neighbors:
        print(f'k-NN, k={neighbors}: top-1 {100 * nearest_neighbors(train, labels, test, truth, neighbors):.2f} %')
    accuracy, strength = linear_probe(train, labels, test, truth, args.regularization)
    print(f'linear probe, C={strength:g}: top-1 {100 * accuracy:.2f} %')


def nearest_neighbors(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, number: int) -> float:
    """Returns the accuracy, from 0 to 1, of a k-NN classifier with ``number`` neighbors."""
    from sklearn.neighbors import KNeighborsClassifier
    classifier = KNeighborsClassifier(number, metric='cosine')
    classifier.set_params(weights=lambda distance: np.exp(-distance / TEMPERATURE))
    return classifier.fit(train, labels).score(test, truth)


def linear_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray,
                 strengths: list[float]) -> tuple[float, float]:
    """Returns the accuracy, from 0 to 1, of a linear classifier, and the selected C."""
    probe, strength = fitted_probe(train, labels, strengths)
    return float(np.mean(probe.predict(test) == truth)), strength


def fitted_probe(train: np.ndarray, labels: np.ndarray, strengths: list[float]) -> tuple[Any, float]:
    """Returns scikit-learn's pipeline of a linear classifier, and the selected C."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    images_per_class = np.unique(labels, return_counts=True)[1]
    if len(images_per_class) < 2:
        raise UsageError('the linear probe needs training images of at least two classes')
    if len(strengths) > 1 and max(images_per_class) < FOLDS:
        raise UsageError(f'--regularization with several values needs a class with at least {FOLDS} training images; '
                         f'pass one value, e.g. --regularization {strengths[0]:g}')
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strengths[0], max_iter=1000))
    if len(strengths) == 1:
        return probe.fit(train, labels), strengths[0]
    search = GridSearchCV(probe, {'logisticregression__C': strengths}, cv=FOLDS).fit(train, labels)
    return search.best_estimator_, search.best_params_['logisticregression__C']
