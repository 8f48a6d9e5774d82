"""Processes get their ranks and numbers of threads."""
import contextlib
import os
import socket
from functools import partial

import pytest
from helpers import raises
from mmengine.config import Config
from runs import note_threads

from mmvit.cli.processes import start
from mmvit.running import ranks
from mmvit.utils.devices import gpu_of_process
from mmvit_backbones.errors import UsageError

MPI = dict(OMPI_COMM_WORLD_RANK='3', OMPI_COMM_WORLD_LOCAL_RANK='1', OMPI_COMM_WORLD_SIZE='4',
           OMPI_COMM_WORLD_LOCAL_SIZE='2')
SLURM = dict(SLURM_PROCID='5', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_NODELIST='n[3-6]', SLURM_JOB_ID='123456',
             SLURM_STEP_ID='0')


@pytest.fixture
def environment():
    """Returns a function that sets environment variables and removes those of launchers; the test restores all."""
    def set_variables(variables: dict[str, str]) -> None:
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', *MPI, *SLURM,
                     'OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
            os.environ.pop(name, None)
        os.environ.update(variables)

    before = dict(os.environ)
    yield set_variables
    os.environ.clear()
    os.environ.update(before)


def test_ranks_of_slurm(environment, tmp_path):
    program = tmp_path / 'scontrol'
    program.write_text('#!/bin/sh\necho n3\necho n4\n')
    program.chmod(0o755)
    environment(dict(SLURM, PATH=f'{tmp_path}:{os.environ["PATH"]}'))
    for launcher in 'none', 'mpi', 'pytorch':
        ranks.set_ranks(launcher)
        assert 'RANK' not in os.environ
    ranks.set_ranks('slurm')
    expected = dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='n3', MASTER_PORT='23456')
    assert {name: os.environ[name] for name in expected} == expected


def test_ranks_of_mpi(environment):
    environment(MPI)
    ranks.set_ranks('slurm')
    assert 'RANK' not in os.environ
    ranks.set_ranks('mpi')
    with raises(UsageError, 'mpi', 'MASTER_ADDR'):
        ranks.check_launcher('mpi')
    environment(dict(MPI, MASTER_ADDR='n1'))
    ranks.set_ranks('mpi')
    assert {name: os.environ[name] for name in (
        'RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')} == dict(
            RANK='3', WORLD_SIZE='4', LOCAL_RANK='1', LOCAL_WORLD_SIZE='2', MASTER_ADDR='n1', MASTER_PORT='29500')
    environment(dict(MPI, OMPI_COMM_WORLD_SIZE='2', MASTER_PORT='7'))
    ranks.set_ranks('mpi')
    assert os.environ['MASTER_ADDR'] == '127.0.0.1' and os.environ['MASTER_PORT'] == '7'


@pytest.mark.slow
def test_processes_share_the_cores_and_need_no_port(environment, monkeypatch, tmp_path):
    """The launcher's default port may be in use, and variables may be of other programs."""
    environment(dict(PET_NNODES='two', LOCAL_RANK='0', MASTER_ADDR='n1'))
    monkeypatch.setattr('os.sched_getaffinity', lambda process: set(range(7)))
    with socket.socket() as other:
        with contextlib.suppress(OSError):  # in use by another program
            other.bind(('', 29500))
            other.listen()
        with pytest.raises(SystemExit) as ended:
            start(partial(note_threads, tmp_path), Config(dict(custom_imports=dict(imports=['printing_hook']))), 2)
    assert ended.value.code == 9
    assert [(tmp_path / rank).read_text() for rank in '01'] == ['3 3 pytorch True'] * 2


def test_a_batch_script_of_several_tasks_needs_srun(environment):
    environment({name: value for name, value in SLURM.items() if name != 'SLURM_STEP_ID'})
    with raises(UsageError, 'launcher slurm', 'srun', '8 tasks', 'SLURM_STEP_ID'):
        ranks.set_ranks('slurm')


@pytest.mark.parametrize('script', ['exit 1', 'exit 0', None])
def test_slurm_that_does_not_name_the_first_machine_is_one_line(script, environment, tmp_path):
    if script:
        (tmp_path / 'scontrol').write_text(f'#!/bin/sh\n{script}\n')
        (tmp_path / 'scontrol').chmod(0o755)
    environment(dict(SLURM, PATH=str(tmp_path)))
    with raises(UsageError, 'launcher slurm', 'scontrol', 'MASTER_ADDR') as caught:
        ranks.set_ranks('slurm')
    assert '\n' not in str(caught.value)


def test_a_launcher_must_have_started_the_process(environment):
    environment(dict(RANK='0', WORLD_SIZE='2', MASTER_ADDR='n1'))
    with raises(UsageError, 'launcher pytorch', 'MASTER_PORT'):
        ranks.check_launcher('pytorch')


@pytest.mark.parametrize('gpus, index', [(1, 0), (4, 3)])
def test_slurm_may_show_each_process_only_its_own_gpu(gpus, index, environment):
    environment(dict(LOCAL_RANK='3'))
    assert gpu_of_process(gpus) == index
