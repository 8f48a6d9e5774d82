"""Before a training, each file of the data is opened once by this package; the runner opens them again."""
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from helpers import ROOT

from mmvit.folders.data_set_files import check_data, folder_problems
from mmvit.recipes import fine_tune

pytestmark = pytest.mark.usefixtures('frameworks')

TASKS = dict(class_folder='flowers_mini', coco_folder='coco_mini', seg_folder='camvid_mini')
opened: list[str] = []
watched: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    if event == 'open' and watched and isinstance(arguments[0], (str, os.PathLike)):
        opened.append(os.fspath(arguments[0]))


sys.addaudithook(_watch)


@contextmanager
def counted(folder) -> Iterator[Counter]:
    """Counts how often each file of a folder is opened."""
    counts: Counter = Counter()
    opened.clear()
    watched.append(str(folder))
    try:
        yield counts
    finally:
        watched.clear()
        counts.update(os.path.normpath(path) for path in opened if path.startswith(str(folder)))


@pytest.mark.parametrize('task, name', TASKS.items())
def test_a_folder_is_read_once(task, name, tmp_path):
    folder = shutil.copytree(ROOT / 'data' / name, tmp_path / 'data')
    with counted(folder) as counts:
        fine_tune('rest_lite', pretrained=False, work_dir=str(tmp_path / 'run'), **{task: str(folder)})
    images = {str(path) for path in folder.rglob('*')
              if path.suffix in ('.jpg', '.png') and 'semantic' not in path.parts}
    assert images <= counts.keys() and set(counts.values()) == {1}
    assert len(counts) - len(images) == dict(class_folder=0, coco_folder=2, seg_folder=1)[task]
    with counted(folder) as counts:
        assert not any(problem.is_error for problem in folder_problems(**{task: folder}))
    assert set(counts.values()) == {1}


def test_the_files_of_a_config_are_read_once(tmp_path):
    folder = shutil.copytree(ROOT / 'data/coco_mini', tmp_path / 'data')
    cfg = fine_tune('rest_lite', pretrained=False, coco_folder=str(folder), work_dir=str(tmp_path / 'run'))
    with counted(folder) as counts:
        check_data(cfg, ['train', 'val'])
    assert {path for path in counts if path.endswith('.json')} and set(counts.values()) == {1}
