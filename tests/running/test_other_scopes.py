"""Configs of any installed package with a registry are trained and tested, by MMEngine's defaults."""
import shutil
from functools import partial
from pathlib import Path

import pytest
from helpers import ROOT
from runs import Run, use_packages

from mmvit.deployment.parts import MODULES as EXPORTED
from mmvit.frameworks.tasks import TASKS
from mmvit.measuring.whole_models import SAMPLES
from mmvit.recipes.recipe import MODULES

SPOTS = ROOT / 'tests/running/spots'


def test_every_room_knows_every_task():
    assert set(TASKS) == set(EXPORTED) == set(SAMPLES) == set(MODULES)


def run(folder: Path, *arguments: object, code: int = 0) -> Run:
    """Runs the command in a folder that holds ``own.py``, with the package ``spots``."""
    found = Run(folder / f'{len(list(folder.glob("*.txt")))}.txt', *arguments, before=partial(use_packages, folder))
    assert found.wait(300) == code, found.text
    return found


@pytest.mark.workflow
def test_a_package_with_its_own_scope(tmp_path):
    shutil.copytree(SPOTS, tmp_path / 'packages/spots')
    shutil.copy(SPOTS / 'config.py', tmp_path / 'own.py')
    assert run(tmp_path, 'train', 'own.py', '--check').text.splitlines()[-1] == 'ok'
    trained = run(tmp_path, 'train', 'own.py', '--work-dir', 'run', '--cfg-options', 'optim_wrapper.optimizer.lr=2e-3')
    assert 'lr: 2.0000e-03' in trained.text and (tmp_path / 'run/epoch_2.pth').exists()
    assert 'distance' in run(tmp_path, 'test', 'run').text
    assert 'Epoch(val) [3]' in run(tmp_path, 'train', 'run', '--resume', '--cfg-options', 'train_cfg.max_epochs=3').text
    (tmp_path / 'a.jpg').touch()
    for arguments in (('test', 'run', '--tta'), ('test', 'run', '--show-dir', 'shown'),
                      ('test', 'run', '--out', 'a.pkl'), ('predict', 'a.jpg', '--checkpoint', 'run'),
                      ('export', 'run', 'a.onnx'), ('benchmark', 'own.py')):
        error = run(tmp_path, *arguments, code=1).error
        assert 'spots' in error and 'mmpretrain, mmdet, mmseg' in error


@pytest.mark.workflow
def test_two_processes_train_another_scope(tmp_path):
    shutil.copytree(SPOTS, tmp_path / 'packages/spots')
    shutil.copy(SPOTS / 'config.py', tmp_path / 'own.py')
    run(tmp_path, 'train', 'own.py', '--work-dir', 'run', '--processes', '2')
    log, = (tmp_path / 'run').glob('*/*.log')
    assert 'Epoch(train) [2][2/2]' in log.read_text()
