"""The demo fails if a model learned too little; tested without training."""
import runpy

import pytest
from helpers import ROOT

DEMO = runpy.run_path(str(ROOT / 'tools/demo.py'))
METRICS = {(task, key): metric for task, (*_, metrics) in DEMO['TASKS'].items() for key, metric in metrics.items()}


@pytest.mark.parametrize('metric', METRICS.values(), ids=map(' '.join, METRICS))
def test_a_minimum_is_above_chance_and_below_all_seeds(metric):
    assert metric.chance < metric.minimum < min(metric.seeds)


def test_a_metric_below_its_minimum_fails():
    learned = {task: {key: METRICS[task, key].minimum for key in metrics}
               for task, (*_, metrics) in DEMO['TASKS'].items()}
    DEMO['check'](learned)
    learned['segmenter']['mIoU'] = 3.
    with pytest.raises(SystemExit, match='segmenter: % mean IoU'):
        DEMO['check'](learned)


def test_large_objects_are_complete(tmp_path):
    """The folder has the layout of --coco-folder, with the same images for training and validation."""
    DEMO['copy_large_objects'](tmp_path)
    names = [sorted(path.name for path in (tmp_path / split).iterdir()) for split in ('train', 'val')]
    assert len(names[0]) == 12 and names[0] == names[1]


def test_no_flower_is_in_both_splits(tmp_path):
    DEMO['copy_flowers'](tmp_path)
    train, val = ({path.relative_to(tmp_path / split) for path in (tmp_path / split).rglob('*.jpg')}
                  for split in ('train', 'val'))
    assert not train & val and len(val) == 3 * DEMO['VALIDATION'] and len(train | val) == 180
