"""Configs of fine-tunings on the folders in `data/`."""
from typing import Any

import pytest
from helpers import ROOT
from mmengine.config import Config

from mmvit.recipes import fine_tune

FLOWERS, COCO, STREETS = (str(ROOT / 'data' / name) for name in ('flowers_mini', 'coco_mini', 'camvid_mini'))
FOLDERS = dict(class_folder=FLOWERS, coco_folder=COCO, seg_folder=STREETS)
TASKS = pytest.mark.parametrize('task', FOLDERS)


def recipe(tmp_path, task: str = 'class_folder', network: Any = 'rest_lite', **options) -> Config:
    """Returns a config for random weights, without the check of all images, which other tests cover."""
    defaults = {'pretrained': False, 'work_dir': str(tmp_path / 'run'), 'check_files': False, task: FOLDERS[task]}
    return fine_tune(network, **{**defaults, **options})
