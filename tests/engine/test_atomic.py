"""Predictions of a test are a complete file or none; tests/running/test_faults.py has checkpoints."""
import resource

import mmengine
import pytest
from helpers import raises
from mmengine.registry import METRICS
from runs import TINY

from mmvit import running
from mmvit_backbones.errors import TrainingError


@pytest.fixture
def full_disk():
    """Returns a function after which no file can grow beyond a kilobyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_older_predictions(full_disk, tmp_path):
    path = tmp_path / 'predictions.pkl'
    *_, dump = running.testing_config(str(TINY), 'a.pth', out=str(path)).test_evaluator
    metric = METRICS.build(dump)
    metric.compute_metrics([1])
    full_disk()
    with raises(TrainingError, path, 'cannot be written: File too large'):
        metric.compute_metrics([0.5] * 999)
    assert mmengine.load(path) == [1] and [*tmp_path.iterdir()] == [path]
