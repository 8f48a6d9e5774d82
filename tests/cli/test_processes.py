"""Processes get their ranks and numbers of threads; the error of a process that fails is named."""
import os
from argparse import Namespace

import pytest
from helpers import raises
from mmengine.config import ConfigDict

from mmvit_backbones.cli import processes
from mmvit_backbones.errors import UsageError

MPI = dict(OMPI_COMM_WORLD_RANK='3', OMPI_COMM_WORLD_LOCAL_RANK='1', OMPI_COMM_WORLD_SIZE='4',
           OMPI_COMM_WORLD_LOCAL_SIZE='2')
SLURM = dict(SLURM_PROCID='5', SLURM_NTASKS='8', SLURM_LOCALID='1', SLURM_NODELIST='n[3-6]', SLURM_JOB_ID='123456')


@pytest.fixture
def environment():
    """Returns a function that sets environment variables and removes those of launchers; the test restores all."""
    def set_variables(variables: dict[str, str]) -> None:
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', *MPI, *SLURM,
                     'OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'NNODES', 'NODE_RANK', 'PORT'):
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
        processes.set_ranks(launcher)
        assert 'RANK' not in os.environ
    processes.set_ranks('slurm')
    expected = dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='1', MASTER_ADDR='n3', MASTER_PORT='23456')
    assert {name: os.environ[name] for name in expected} == expected


def test_ranks_of_mpi(environment):
    environment(MPI)
    processes.set_ranks('slurm')
    assert 'RANK' not in os.environ
    with raises(UsageError, 'mpi', 'MASTER_ADDR'):
        processes.set_ranks('mpi')
    environment(dict(MPI, MASTER_ADDR='n1'))
    processes.set_ranks('mpi')
    assert {name: os.environ[name] for name in (
        'RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')} == dict(
            RANK='3', WORLD_SIZE='4', LOCAL_RANK='1', LOCAL_WORLD_SIZE='2', MASTER_ADDR='n1', MASTER_PORT='29500')
    environment(dict(MPI, OMPI_COMM_WORLD_SIZE='2', MASTER_PORT='7'))
    processes.set_ranks('mpi')
    assert os.environ['MASTER_ADDR'] == '127.0.0.1' and os.environ['MASTER_PORT'] == '7'


@pytest.mark.parametrize('given, threads', [({}, '3'), (dict(OMP_NUM_THREADS='2'), '2')])
def test_processes_share_the_cores(given, threads, environment, monkeypatch):
    """The arguments are checked once, in this process."""
    environment(dict(given, LOCAL_RANK='0', NNODES='2', PORT='5'))
    monkeypatch.setattr('os.sched_getaffinity', lambda process: set(range(7)))
    started, checked = [], []
    monkeypatch.setattr(processes, '_run_torchrun', lambda arguments: started.append(arguments) or 9)

    def main(args):
        checked.append((args.check, args.launcher, os.environ['LOCAL_WORLD_SIZE']))

    arguments = ['x', '--processes', '2', '--lr', '1']
    processes.start('train', arguments, Namespace(processes=2, check=True, plan=False), main)
    processes.start('train', arguments, Namespace(processes=2, check=False, plan=True), main)
    assert not started
    with pytest.raises(SystemExit) as ended:
        processes.start('train', arguments, Namespace(processes=2, check=False), main)
    assert ended.value.code == 9 and checked == [(True, 'pytorch', '2')] * 3
    assert started == [['--nnodes', '2', '--node_rank', '0', '--master_addr', '127.0.0.1', '--master_port', '5',
                        '--nproc_per_node', '2', '-m', 'mmvit', 'train', 'x', '--lr', '1', '--launcher', 'pytorch']]
    assert os.environ['OMP_NUM_THREADS'] == os.environ['MKL_NUM_THREADS'] == threads
    assert not {'LOCAL_RANK', 'LOCAL_WORLD_SIZE'} & os.environ.keys()
    monkeypatch.setattr('os.sched_getaffinity', lambda process: {0})
    os.environ.pop('OMP_NUM_THREADS')
    os.environ['LOCAL_RANK'] = '0'
    monkeypatch.setattr(processes, '_run_torchrun', lambda arguments: 0)
    processes.start('train', arguments, Namespace(processes=2, check=False), main)
    assert os.environ['OMP_NUM_THREADS'] == '1'


@pytest.mark.parametrize('exit_code, code, message', [
    (3, 3, 'rank 1 (process 42) failed with exit code 3'), (-9, 137, 'SIGKILL, possibly because'),
    (-15, 143, 'was killed by SIGTERM; the other processes'), (130, 130, None), (143, 143, None)])
def test_the_first_failure_is_reported(exit_code, code, message, monkeypatch, capsys):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    def fail(arguments):
        raise ChildFailedError('mmvit', {1: ProcessFailure(local_rank=1, pid=42, exitcode=exit_code, error_file='')})

    monkeypatch.setattr('torch.distributed.run.main', fail)
    assert processes._run_torchrun([]) == code
    error = capsys.readouterr().err
    assert error.startswith('error: ') and message in error if message else not error


def test_a_signal_to_torchrun_is_its_exit_code(monkeypatch):
    import signal

    from torch.distributed.elastic.multiprocessing import SignalException

    def fail(arguments):
        raise SignalException('stopped', signal.SIGTERM)

    monkeypatch.setattr('torch.distributed.run.main', fail)
    assert processes._run_torchrun([]) == 143
    monkeypatch.setattr('torch.distributed.run.main', lambda arguments: None)
    assert processes._run_torchrun([]) == 0


def test_each_process_needs_a_gpu_if_there_are_gpus(environment, monkeypatch):
    for gpus, number, is_error in (0, '8', False), (2, '2', False), (2, '3', True), (1, None, False):
        environment({} if number is None else dict(LOCAL_WORLD_SIZE=number))
        monkeypatch.setattr('torch.cuda.device_count', lambda gpus=gpus: gpus)
        if is_error:
            with raises(UsageError, number, gpus):
                processes.check_number_of_processes()
        else:
            processes.check_number_of_processes()


def test_processes_on_cpus(environment, monkeypatch):
    """Without GPUs, batch norm is not synchronized; settings of the config are kept."""
    environment(dict(RANK='0'))
    backends = []
    monkeypatch.setattr('torch.distributed.init_process_group', backends.append)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    cfg = ConfigDict(launcher='none', model=dict(norm_cfg=dict(type='SyncBN'), other=[dict(type='LN')]))
    processes.init_processes(cfg)
    assert cfg.model.norm_cfg.type == 'SyncBN' and not backends
    cfg.launcher = 'pytorch'
    processes.init_processes(cfg)
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=False)
    assert cfg.model_wrapper_cfg == dict(wrapper, device_ids=None) and backends == ['gloo']
    assert cfg.model == dict(norm_cfg=dict(type='BN'), other=[dict(type='LN')])
    cfg.find_unused_parameters = True
    cfg.pop('model_wrapper_cfg')
    processes.init_processes(cfg)
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    cfg.model_wrapper_cfg = dict(type='OwnWrapper')
    processes.init_processes(cfg)
    assert cfg.model_wrapper_cfg == dict(type='OwnWrapper', device_ids=None)
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    processes.init_processes(cfg)
    assert len(backends) == 3
    environment({})
    with raises(UsageError, '--launcher pytorch', '--processes'):
        processes.init_processes(cfg)
