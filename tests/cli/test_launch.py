"""Tests subcommands and scripts: errors, outputs, several processes and Slurm."""
import math
import os
import re
import shutil
import subprocess
import sys
from shlex import quote

import pytest
from helpers import ROOT, raises
from mmengine.config import Config
from runs import end, train_together
from subcommands import call
from tiny_exports import mean_color_file

import mmvit.cli
from mmvit.configs.files import read_config
from mmvit.recipes import fine_tune
from mmvit_backbones.errors import UsageError

TRAINING = ROOT / 'tests/running'
TINY = TRAINING / 'tiny_classifier.py'
FLOWERS = str(ROOT / 'data/flowers_mini')
FAILS_IN_SECOND = """
import os
if os.environ.get('RANK') == '1':
    os._exit(3)
"""


def environment(**variables):
    path = os.pathsep.join([str(ROOT), str(TRAINING)])
    return {**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable, **variables}


def run(*args, cwd=ROOT, **variables):
    return subprocess.run(args, cwd=cwd, env=environment(**variables), capture_output=True, text=True)


@pytest.mark.parametrize('arguments, words', [
    (['weights', 'convrt'], ["'weights convrt'", 'weights convert']), ([''], ["''", 'train'])])
def test_unknown_subcommand(arguments, words):
    with raises(SystemExit, 'error: ', *words):
        mmvit.cli.dispatch(arguments)


def test_config_with_modules_that_are_not_found(tmp_path):
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['mmvit_backbones', 'my_hook'])")
    with raises(UsageError, "No module named 'my_hook'", 'PYTHONPATH') as caught:
        read_config(str(tmp_path / 'config.py'))
    assert '\n' not in str(caught.value)


def test_config_with_a_syntax_error(tmp_path):
    config = tmp_path / 'bad.py'
    config.write_text('model = dict(')
    with raises(UsageError, 'bad.py', 'SyntaxError'):
        read_config(str(config))


def test_bad_images_among_good_ones(tmp_path, capsys):
    """Checks that intact images are drawn and that each bad image is reported in one line."""
    pytest.importorskip('onnx')
    images = sorted((ROOT / 'data/flowers_mini/val/roses').glob('*.jpg'))[:5]
    (tmp_path / 'images').mkdir()
    for image in images:
        shutil.copy(image, tmp_path / 'images')
    bad = [tmp_path / 'images' / image.name for image in images[:3]]
    os.truncate(bad[0], 5000)
    bad[1].write_bytes(b'text')
    bad[2].write_bytes(b'')
    with pytest.raises(SystemExit) as ended:
        call('predict', tmp_path / 'images', '--checkpoint', mean_color_file(tmp_path), '--out-dir', tmp_path / 'drawn')
    captured = capsys.readouterr()
    assert ended.value.code == 1
    assert len(list((tmp_path / 'drawn').iterdir())) == captured.out.count(' -> ') == len(images) - 3
    errors = [line for line in captured.err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 3 and all(str(path) in line for path, line in zip(bad, errors))


@pytest.mark.parametrize('variables, calls', [
    ({}, ['srun', 'srun --resume auto']), (dict(SLURM_JOB_ID='7'), ['srun', 'scontrol requeue 7']),
    (dict(SLURM_JOB_ID='7', SLURM_RESTART_COUNT='1'), ['srun --resume auto', 'scontrol requeue 7'])])
def test_stopped_slurm_training_is_queued_again(variables, calls, tmp_path):
    """Replaces Slurm's programs; the first srun exits with the code for SIGTERM, the second with 0."""
    notes = tmp_path / 'notes'
    for name in ('srun', 'scontrol'):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {quote(str(notes))}\n[ {name} = scontrol ] || '
                                     f'{{ read -r one && read -r two; }} < {quote(str(notes))} || exit 143\n')
        (tmp_path / name).chmod(0o755)
    result = run(str(ROOT / 'tools/slurm_train.sh'), 'gpu', 'job', 'config.py', 'work', '--amp',
                 PATH=f'{tmp_path}:{os.environ["PATH"]}', **variables)
    assert result.returncode == 0, result.stderr
    for done, expected in zip(notes.read_text().splitlines(), calls, strict=True):
        is_training = expected.startswith('srun')
        assert done.startswith('srun ') and '--amp' in done if is_training else done == expected
        assert ('--resume auto' in done) == ('--resume' in expected)


@pytest.mark.workflow
def test_two_processes_take_the_same_step(tmp_path):
    """They have the variables of Open MPI; test_compile.py has those of torchrun. CPUs do not synchronize norms."""
    runs = train_together(tmp_path, 'mpi', TRAINING / 'two_processes.py', '--work-dir', tmp_path / 'work',
                          '--cfg-options', 'sync_bn=torch')
    end(runs)
    assert [run.text.splitlines().count(f'  mmvit test {quote(str(tmp_path / "work"))}') for run in runs] == [1, 0]
    assert (tmp_path / 'work/epoch_1.pth').exists()


def test_a_launcher_takes_a_recipe_that_is_finished_for_its_processes(tmp_path):
    """The error says how to write it first."""
    arguments = ['rest_lite', '--class-folder', FLOWERS, '--no-pretrained', '--batch-size', '5', '--work-dir',
                 tmp_path / 'run']
    runs = train_together(tmp_path, 'pytorch', *arguments)
    end(runs, 1)
    for words in '--launcher pytorch', '--processes N --check', 'recipe/NAME.py':
        assert words in runs[0].error
    assert 'error' not in runs[1].text and not (tmp_path / 'run').exists()
    call('train', *arguments, '--processes', '2', '--check')
    file, = (tmp_path / 'run/recipe').glob('*.py')
    alone = fine_tune('rest_lite', class_folder=FLOWERS, pretrained=False, batch_size=5, check_files=False,
                      work_dir=str(tmp_path / 'alone'))
    assert Config.fromfile(file).param_scheduler[-1].end == math.ceil(alone.param_scheduler[-1].end / 2)
    runs = train_together(tmp_path, 'mpi', file, '--check')
    end(runs)
    assert [run.text.splitlines().count('ok') for run in runs] == [1, 0]
    with raises(UsageError, file, '--processes 2', 'got 1'):
        call('train', file, '--check')


def test_an_error_of_all_processes_is_printed_once(tmp_path):
    config = tmp_path / 'tiny.py'
    config.write_text(f"_base_ = {str(TINY)!r}\ntrain_dataloader = dict(dataset=dict(data_root='nowhere'))\n")
    runs = train_together(tmp_path, 'mpi', config)
    end(runs, 1)
    assert 'nowhere' in runs[0].error and 'error' not in runs[1].text


def test_variables_of_another_launcher_are_ignored(monkeypatch, capsys):
    """A job of several processes may start `mmvit` without --launcher."""
    for name, value in dict(RANK='3', LOCAL_RANK='3', WORLD_SIZE='8').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        mmvit.cli.dispatch(['train', 'rest_lite', '--class-folder', 'nowhere'])
    error, = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and 'nowhere' in error


@pytest.mark.workflow
def test_the_process_that_fails_is_named(tmp_path):
    (tmp_path / 'fails_in_second.py').write_text(FAILS_IN_SECOND)
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = {str(TINY)!r}\n"
                      "custom_imports = dict(imports=['mmvit_backbones', 'fails_in_second'])\n")
    result = run(str(ROOT / 'tools/dist_train.sh'), str(config), '2', '--work-dir', str(tmp_path / 'work'),
                 PYTHONPATH=os.pathsep.join([str(tmp_path), environment()['PYTHONPATH']]))
    assert result.returncode == 3, result.stderr
    error, = (line for line in result.stderr.splitlines() if 'mmengine' not in line)
    assert re.fullmatch(r'error: rank 1: process \d+ failed with exit code 3', error)
