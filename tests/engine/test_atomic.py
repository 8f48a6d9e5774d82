"""Predictions of a test are a complete file or none; tests/running/test_faults.py has checkpoints."""
import resource

import mmengine
from helpers import raises
from mmengine.registry import METRICS
from runs import TINY, in_own_process

from mmvit import running
from mmvit_backbones.errors import TrainingError


def test_a_full_disk_leaves_the_older_predictions(tmp_path):
    in_own_process(write_on_a_full_disk, tmp_path / 'predictions.pkl')
    assert mmengine.load(tmp_path / 'predictions.pkl') == [1]
    assert [*tmp_path.iterdir()] == [tmp_path / 'predictions.pkl']


def write_on_a_full_disk(path):
    *_, dump = running.testing_config(str(TINY), 'a.pth', out=str(path)).test_evaluator
    metric = METRICS.build(dump)
    metric.compute_metrics([1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    with raises(TrainingError, path, 'cannot be written: File too large'):
        metric.compute_metrics([0.5] * 999)
