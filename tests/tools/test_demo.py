"""The demo fails if a model learned too little; tested without training."""
import runpy

import pytest
from helpers import ROOT


def test_a_metric_below_its_minimum_fails():
    demo = runpy.run_path(str(ROOT / 'tools/demo.py'))
    learned = {task: {key: minimum for key, (minimum, _, _) in metrics.items()}
               for task, (_, metrics) in demo['TASKS'].items()}
    demo['check'](learned)
    learned['segmenter']['mIoU'] = 3.
    with pytest.raises(SystemExit, match='segmenter: % mean IoU'):
        demo['check'](learned)


def test_large_objects_are_complete(tmp_path):
    """The folder has the layout of --coco-folder, with the same images for training and validation."""
    demo = runpy.run_path(str(ROOT / 'tools/demo.py'))
    demo['copy_large_objects'](tmp_path)
    names = [sorted(path.name for path in (tmp_path / split).iterdir()) for split in ('train', 'val')]
    assert len(names[0]) == 12 and names[0] == names[1]
