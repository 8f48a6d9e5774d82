"""Kills training at random times; `make chaos` runs these tests, which take too long for the test suite."""
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT
from runs import TINY, assert_same_weights, train

KILLS = int(os.environ.get('CHAOS_KILLS', 100))
SEED = int(os.environ.get('CHAOS_SEED', 0))
# Long enough for kills during start, training steps, validation, saving and exit.
OPTIONS = ['train_dataloader.num_workers=1', 'train_cfg.max_epochs=6', 'default_hooks.checkpoint.max_keep_ckpts=2']


def test_killed_runs_end_with_the_same_weights(tmp_path):
    """Two of three kills are SIGKILL, and one is SIGTERM. When a run has finished, a new run starts."""
    undisturbed = tmp_path / 'undisturbed'
    run = train(undisturbed, *OPTIONS)
    assert run.wait() == 0, run.text
    duration = 10.  # in seconds; adapts to the machine, so that about one run in ten finishes before it is killed
    moments, work_dir, finished, codes = random.Random(SEED), tmp_path / 'work', 0, []
    while len(codes) < KILLS or work_dir.exists():
        run = train(work_dir, '--resume=auto', *OPTIONS)
        if len(codes) < KILLS:
            run.process.join(moments.uniform(0.1, 0.9) * duration)
            if run.process.exitcode is None:
                run.signal(signal.SIGTERM if len(codes) % 3 == 2 else signal.SIGKILL)
                code = run.wait()
                codes += [code] if code else []
        code = run.wait()
        assert code in (0, 143, -signal.SIGTERM, -signal.SIGKILL), run.text
        duration *= 1.02 if code else 0.8
        if code == 0:
            assert_same_weights(undisturbed / 'epoch_6.pth', work_dir / 'epoch_6.pth')
            finished += 1
            shutil.rmtree(work_dir)
    print(f'{len(codes)} kills with exit codes {sorted(set(codes))}; {finished} runs finished with the same weights')


def launch(work_dir, *arguments, processes=2, options=(), **variables):
    path = os.pathsep.join([str(ROOT), str(ROOT / 'tests/training')])
    env = {**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, 'PORT': '29613',
           'CUDA_VISIBLE_DEVICES': '-1', 'PYTHONUNBUFFERED': '1', **variables}
    return subprocess.Popen(
        [str(ROOT / 'tools/dist_train.sh'), str(TINY), str(processes), '--work-dir', str(work_dir), *arguments,
         '--cfg-options', 'randomness.seed=7', 'find_unused_parameters=True', *options],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def end(run, code=0, timeout=600):
    output, _ = run.communicate(timeout=timeout)
    assert run.returncode == code, output
    return output


def ranks_of(launcher):
    """Returns the process ids of the launcher's children by rank."""
    ranks = {}
    for process in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{process}/environ') as file:
                variables = dict(entry.split('=', 1) for entry in file.read().split('\0') if '=' in entry)
            with open(f'/proc/{process}/stat') as file:
                parent = int(file.read().rsplit(')', 1)[1].split()[1])
        except OSError:
            continue
        if parent == launcher and 'RANK' in variables:
            ranks[int(variables['RANK'])] = int(process)
    return ranks


def read_until(process, text):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return ''.join(lines)
    raise AssertionError(''.join(lines))


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGKILL, 137)])
def test_one_of_two_ranks(number, code, tmp_path):
    """After SIGTERM to one rank, both ranks save and stop. After SIGKILL, the run ends and names the killed rank."""
    end(launch(tmp_path / 'whole'))
    run = launch(tmp_path / 'work')
    read_until(run, 'Epoch(train) [2][1/2]')
    ranks = ranks_of(run.pid)
    os.kill(ranks[1], number)
    start = time.monotonic()
    output = end(run, code, timeout=60)
    print(f'ended after {time.monotonic() - start:.1f} s:', *output.splitlines()[-4:], sep='\n')
    assert 'Traceback' not in output, output
    assert ('rank 1' in output and 'SIGKILL' in output) == (number == signal.SIGKILL)
    assert not any(os.path.exists(f'/proc/{process}/cwd') for process in ranks.values())
    end(launch(tmp_path / 'work', '--resume'))
    assert_same_weights(tmp_path / 'whole/epoch_3.pth', tmp_path / 'work/epoch_3.pth')


def test_two_machines(tmp_path):
    """Two launchers of two processes give the same weights as one launcher of four, even if a process is killed."""
    options = ['train_dataloader.dataset.indices=48']

    def launch_both(*arguments):
        return [launch(tmp_path / 'work', *arguments, options=options, NNODES='2', NODE_RANK=rank) for rank in '01']

    end(launch(tmp_path / 'whole', processes=4, options=options))
    machines = launch_both()
    read_until(machines[0], 'Epoch(train) [2][1/3]')
    os.kill(ranks_of(machines[1].pid)[3], signal.SIGKILL)
    start = time.monotonic()
    outputs = [end(machine, code, timeout=60) for machine, code in zip(machines, (1, 137))]
    print(f'ended after {time.monotonic() - start:.1f} s:', *(output.splitlines()[-1] for output in outputs), sep='\n')
    assert all('Traceback' not in output for output in outputs), outputs
    assert 'rank 3' in outputs[1] and 'SIGKILL' in outputs[1]
    for machine in launch_both('--resume'):
        end(machine)
    assert_same_weights(tmp_path / 'whole/epoch_3.pth', tmp_path / 'work/epoch_3.pth')
