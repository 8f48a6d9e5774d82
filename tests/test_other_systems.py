"""The command works on Windows and macOS, as far as `other_system/sitecustomize.py` simulates them on Linux."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from mmvit.running.work_dir import lock_file

SIMULATION = ROOT / 'tests/other_system'
TINY = 'tests/running/tiny_classifier.py'
SHORT = ['--cfg-options', 'train_cfg.max_epochs=1']
WORKER = 'train_dataloader.num_workers=1'
FLOWERS = ROOT / 'data/flowers_mini'

pytestmark = [pytest.mark.slow, pytest.mark.workflow]


def run(system: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs Python as on a system whose console has the encoding cp1252."""
    environment = {**os.environ, 'SYSTEM': system, 'PYTHONPATH': os.pathsep.join([str(SIMULATION), str(ROOT)]),
                   'PYTHONIOENCODING': 'cp1252', 'PYTHONWARNDEFAULTENCODING': '1', 'OMP_NUM_THREADS': '1',
                   'TRITON_INTERPRET': '0'}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, encoding='cp1252', errors='replace',
                          capture_output=True)


def verbs(system: str, *calls: list[str]) -> subprocess.CompletedProcess:
    return run(system, str(SIMULATION / 'verbs.py'), json.dumps(calls))


@pytest.fixture
def flowers(tmp_path) -> Path:
    """Returns a folder of classes whose names cp1252 has and lacks."""
    folder = tmp_path / 'flowers'
    for split, number in (('train', 2), ('val', 1)):
        for name, other in (('daisy', 'Gänseblümchen'), ('roses', '玫瑰')):
            (folder / split / other).mkdir(parents=True)
            for path in sorted(Path(FLOWERS, split, name).iterdir())[:number]:
                shutil.copy(path, folder / split / other)
    return folder


@pytest.mark.parametrize('code', [
    'import fcntl', 'import os; os.wait4', 'from signal import SIGKILL', 'open("a:b", "w", encoding="utf-8")',
    'import os; file = open("a", "wb"); os.replace("a", "b")', 'open("a", "w")'])
def test_what_windows_lacks_is_taken_away(code, tmp_path):
    """Otherwise, the other tests would show nothing."""
    done = run('Windows', '-c', f'import os; os.chdir({str(tmp_path)!r}); exec({code!r}, dict(__name__="mmvit.x"))')
    assert done.returncode == 1, code


def test_windows(flowers, tmp_path):
    """From the diagnosis to an exported model, with a worker, and two processes; then a work dir that is in use."""
    work_dir, used, exported = tmp_path / 'run', tmp_path / 'used', tmp_path / 'model.onnx'
    with lock_file(str(used / '.lock')):
        done = verbs(
            'Windows', ['doctor'],
            ['train', TINY, '--work-dir', str(work_dir), *SHORT, WORKER],
            ['train', 'rest_lite', '--class-folder', str(flowers), '--no-pretrained', '--size', '32', '--check',
             '--work-dir', str(tmp_path / 'recipe')],
            ['test', str(work_dir)],
            ['predict', str(flowers / 'val'), '--checkpoint', str(work_dir), '--out-dir', str(tmp_path / 'drawn')],
            ['export', str(work_dir), str(exported)],
            ['train', TINY, '--processes', '2', '--work-dir', str(tmp_path / 'two'), *SHORT],
            ['train', TINY, '--work-dir', str(used)])
    assert done.stderr.rstrip().endswith('is in use by another run; use another work dir for this run'), done.stderr
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'verdict: everything that is installed works' in done.stdout
    assert 'Gänseblümchen, ??' in done.stdout  # of the recipe
    assert '2 predicted, 0 failed' in done.stdout and len(list(tmp_path.glob('drawn/*/*.png'))) == 2
    assert exported.is_file() and (tmp_path / 'two/epoch_1.pth').is_file()


def test_macos(tmp_path):
    done = run('Darwin', 'tools/train.py', TINY, '--work-dir', str(tmp_path), *SHORT, WORKER)
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    assert (tmp_path / 'epoch_1.pth').is_file()
