"""Accuracy of a classifier for each class."""
import pytest
import torch
from mmengine.registry import METRICS

import mmvit_backbones  # noqa: F401


def evaluate(predicted: list[int], labels: list[int], num_classes: int, classes=None) -> dict[str, float]:
    metric = METRICS.build(dict(type='PerClassAccuracy'))
    if classes:
        metric.dataset_meta = dict(classes=classes)
    metric.process({}, [dict(pred_score=torch.eye(num_classes)[best], gt_label=torch.tensor([label]))
                        for best, label in zip(predicted, labels)])
    return metric.evaluate(len(labels))


def rows(logged) -> list[list[str]]:
    return [line.split() for line in logged.text.splitlines() if '%' in line]


def test_mean_over_the_classes_with_images(logged):
    assert evaluate([0, 0, 1, 3], [0, 0, 0, 3], 4, 'abcd') == dict(mean_class_accuracy=pytest.approx(250 / 3))
    assert rows(logged) == ['66.7 % 2 of 3 a'.split(), '100.0 % 1 of 1 d'.split()]


@pytest.mark.parametrize('number', [50, 51])
def test_the_fifty_worst_classes_are_listed(number, logged):
    found = evaluate([0] * 2 + list(range(1, number)), [1] + list(range(number)), number)
    assert found['mean_class_accuracy'] == pytest.approx(100 * (number - 0.5) / number)
    listed = [int(row[-1]) for row in rows(logged)]
    assert len(set(listed)) == 50
    assert listed == list(range(50)) if number == 50 else listed[0] == 1  # by accuracy only if some are left out
