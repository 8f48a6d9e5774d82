"""`slurm_train.sh` with a real Slurm, whose only node is this machine."""
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT
from runs import assert_same_weights

TINY = ROOT / 'tests/running/tiny_classifier.py'
NODE = str(ROOT / 'tests/support/slurm_node.sh')

pytestmark = [pytest.mark.slow, pytest.mark.workflow]


@pytest.fixture
def slurm(tmp_path):
    """Starts Slurm and returns the environment variables for its commands."""
    folder = tmp_path / 'slurm'
    folder.mkdir()
    started = subprocess.run([NODE, folder, 'start'], capture_output=True, text=True)
    try:
        if started.returncode:
            pytest.skip(started.stderr.strip())
        yield {**os.environ, 'SLURM_CONF': str(folder / 'slurm.conf'), 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
               'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': '-1', 'GPUS': '2', 'CPUS_PER_TASK': '1'}
    finally:
        subprocess.run([NODE, folder, 'stop'])


def training(work_dir):
    return [str(ROOT / 'tools/slurm_train.sh'), 'low', 'job', str(TINY), str(work_dir), '--cfg-options',
            'randomness.seed=7', 'find_unused_parameters=True', 'train_dataloader.dataset.indices=48',
            'train_cfg.max_epochs=6']


def submit(slurm, partition, log: Path, command):
    script = f'#!/bin/sh\nexec {" ".join(command)}\n'
    subprocess.run(['sbatch', '--partition', partition, '--requeue', '--ntasks', '2', '--gres', 'gpu:2',
                    '--open-mode', 'append', '--output', log],
                   input=script, env=slurm, cwd=ROOT, text=True, check=True, stdout=subprocess.DEVNULL)


def wait_for(log: Path, text: str) -> None:
    end = time.monotonic() + 400
    while not log.exists() or text not in log.read_text(encoding='utf-8'):
        text = log.read_text(encoding='utf-8')[-3000:] if log.exists() else 'the job did not start'
        assert time.monotonic() < end, text
        time.sleep(0.01)


def test_preempted_training_is_resumed_exactly(slurm, tmp_path):
    """A job that is preempted saves a checkpoint, is requeued, and gives the weights of an uninterrupted run."""
    log, urgent = tmp_path / 'job.txt', tmp_path / 'urgent.txt'
    submit(slurm, 'low', log, training(tmp_path / 'work'))
    wait_for(log, 'Epoch(train) [2][1/6]')
    # Training would finish before Slurm reacts, so it is paused here. Slurm sends SIGCONT before SIGTERM.
    subprocess.run(['pkill', '-STOP', '-f', f'^[^ ]*python[^ ]* -u .* {tmp_path / "work"} '], check=True)
    submit(slurm, 'high', urgent, ['echo', 'done'])
    wait_for(urgent, 'done')
    assert 'SIGTERM: stopped after iteration' in log.read_text()
    whole = subprocess.run(training(tmp_path / 'whole'), env=slurm, cwd=ROOT, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    wait_for(log, f'\n  mmvit test {tmp_path / "work"}\n')
    assert_same_weights(tmp_path / 'whole/epoch_6.pth', tmp_path / 'work/epoch_6.pth')
