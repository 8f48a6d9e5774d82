"""Classifiers of frozen features: k-NN and linear probes of scikit-learn."""
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmvit_backbones.errors import UsageError

TEMPERATURE = 0.07
FOLDS = 3


def check_neighbors(neighbors: Sequence[int], number: int) -> None:
    """Raises UsageError if a number of neighbors is not from 1 to ``number``, that of the training samples."""
    if not all(1 <= k <= number for k in neighbors):
        raise UsageError(f'neighbors must be from 1 to {number}, the number of training samples, got '
                         f'{", ".join(map(str, neighbors))}')


def nearest_neighbors(train: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray, number: int) -> float:
    """Returns the accuracy, from 0 to 1, of a k-NN classifier with ``number`` neighbors."""
    from sklearn.neighbors import KNeighborsClassifier
    classifier = KNeighborsClassifier(number, metric='cosine')
    classifier.set_params(weights=lambda distance: np.exp(-distance / TEMPERATURE))
    return classifier.fit(train, labels).score(test, truth)


def linear_probe(vectors: np.ndarray, labels: np.ndarray, strengths: Sequence[float]) -> tuple[Any, float]:
    """Returns scikit-learn's pipeline of a linear classifier, and the C selected from ``strengths``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    samples_per_class = np.unique(labels, return_counts=True)[1]
    if len(samples_per_class) < 2:
        raise UsageError('the linear probe needs training images of at least two classes')
    if len(strengths) > 1 and max(samples_per_class) < FOLDS:
        raise UsageError(f'regularization with several values needs a class with at least {FOLDS} training images; '
                         f'pass one value, e.g. {strengths[0]:g}')
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strengths[0], max_iter=1000))
    if len(strengths) == 1:
        return probe.fit(vectors, labels), strengths[0]
    search = GridSearchCV(probe, {'logisticregression__C': list(strengths)}, cv=FOLDS).fit(vectors, labels)
    return search.best_estimator_, search.best_params_['logisticregression__C']
