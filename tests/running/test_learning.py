"""Networks learn at the first try: from random weights, by their names, on the images in `data/`.

ResT-Lite is hierarchical and has global attention; ReSwin-T has windows.
"""
import json
import runpy
from pathlib import Path

import pytest
from helpers import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.usefixtures('frameworks')]

FLOWERS, STREETS = (str(ROOT / 'data' / name) for name in ('flowers_mini', 'camvid_mini'))


def once(epochs: int, *settings: str, size: int = 64) -> list[str]:
    """Returns options for training some epochs, after which the model is evaluated and saved once."""
    return ['--epochs', str(epochs), '--no-pretrained', '--size', str(size), '--seed', '0', '--cfg-options',
            f'train_cfg.val_interval={epochs}', f'default_hooks.checkpoint.interval={epochs}',
            'default_hooks.checkpoint.save_optimizer=False', *settings]


def last(work_dir: Path, metric: str) -> float:
    log, = work_dir.glob('*/vis_data/scalars.json')
    return [entry[metric] for line in log.read_text().splitlines() if metric in (entry := json.loads(line))][-1]


def test_a_classifier_beats_chance(run, own_loaders, tmp_path):
    """Chance is 20 % for 60 images in 5 classes, with a standard deviation of 5 %."""
    run('train', 'rest_lite', '--class-folder', FLOWERS, '--work-dir', str(tmp_path), *once(5, size=32))
    assert last(tmp_path, 'accuracy/top1') >= 35


@pytest.mark.filterwarnings('ignore:The draw is False')  # a warning of mmseg's default visualization hook
def test_a_segmenter_beats_chance(run, own_loaders, tmp_path):
    """The most frequent class covers 30 % of the pixels, and would have a mean IoU of 3 %."""
    run('train', 'reswin_tiny', '--seg-folder', STREETS, '--work-dir', str(tmp_path),
        *once(2))
    assert last(tmp_path, 'aAcc') >= 45 and last(tmp_path, 'mIoU') >= 10


def test_a_detector_overfits_twelve_images(run, own_loaders, tmp_path):
    """Trains a Mask R-CNN."""
    demo = runpy.run_path(str(ROOT / 'tools/demo.py'))
    demo['copy_large_objects'](tmp_path / 'large')
    run('train', 'rest_lite', '--coco-folder', str(tmp_path / 'large'), '--light', '--work-dir', str(tmp_path / 'run'),
        *once(5, *demo['NARROW']))
    assert last(tmp_path / 'run', 'coco/bbox_mAP_50') >= 0.05
