"""Predictions of a test are a complete file or none; tests/running/test_faults.py has checkpoints."""
import resource
import shutil

import mmengine
import pytest
from helpers import raises
from mmengine.fileio import get_file_backend
from mmengine.registry import METRICS
from runs import TINY, in_own_process

from mmvit import running
from mmvit_backbones.errors import TrainingError
from mmvit_backbones.utils.file_access import replaced_when_complete


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


def test_what_a_killed_process_has_left_is_removed(tmp_path):
    """Its folder beside the file would fill the disk, kill by kill."""
    with pytest.raises(KeyboardInterrupt), replaced_when_complete(tmp_path / 'a.pth') as part:
        shutil.copytree(part.parent, tmp_path / f'{part.parent.name[:-5]}killed.part')
        raise KeyboardInterrupt
    assert len([*tmp_path.iterdir()]) == 1
    get_file_backend(backend_args=dict(backend='atomic')).put(b'1', str(tmp_path / 'a.pth'))
    assert [*tmp_path.iterdir()] == [tmp_path / 'a.pth'] and (tmp_path / 'a.pth').read_bytes() == b'1'


def test_text_is_written_where_the_path_says(tmp_path):
    mmengine.dump(dict(a=1), f'atomic://{tmp_path}/a.json')
    assert mmengine.load(tmp_path / 'a.json') == dict(a=1)
