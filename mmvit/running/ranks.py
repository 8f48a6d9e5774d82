"""Connects the processes of a run that a launcher has started."""
import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..utils.devices import check_number_of_processes, gpu_of_process, number_of_accelerators, use_own_gpu
from ..utils.faults import named


@contextmanager
def started_by(launcher: str, local_rank: int = 0) -> Iterator[int]:
    """Yields the number of processes that a launcher has started, of which this is one; disconnects them at the end.

    Args:
        launcher (str): 'pytorch', 'slurm' or 'mpi'.
        local_rank (int): Rank of this process on its machine, if no variable has it. Defaults to 0.

    Raises:
        UsageError: If the launcher has not started this process, or there are fewer GPUs than processes.
    """
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    set_ranks(launcher)
    check_launcher(launcher)
    check_number_of_processes(int(os.environ.get('LOCAL_WORLD_SIZE', 1)))
    use_own_gpu()
    try:
        yield int(os.environ['WORLD_SIZE'])
    finally:
        if torch.distributed.is_initialized():
            gc.collect()  # references to the process group would keep gloo's threads alive, which abort at the exit
            torch.distributed.destroy_process_group()


def check_launcher(launcher: str) -> None:
    """Raises UsageError if the launcher has not started this process, which has its rank in environment variables."""
    programs = dict(slurm='srun', mpi="Open MPI's mpirun", pytorch='torchrun; mmvit train --processes N starts them')
    if missing := [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT') if not os.environ.get(name)]:
        raise UsageError(f'launcher {launcher} needs processes that were started by {programs[launcher]}; the '
                         f'environment variable {missing[0]} is not set')


def init_processes(cfg: Config) -> None:
    """Connects the processes on machines without accelerators; MMEngine's launchers need some.

    Raises:
        UsageError: If the launcher has not started this process.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        return
    check_launcher(launcher)
    accelerators = number_of_accelerators()
    if not accelerators:
        torch.distributed.init_process_group('gloo')
    elif launcher == 'slurm':  # MMEngine uses it as the index of the GPU
        os.environ['SLURM_LOCALID'] = str(gpu_of_process(accelerators))


def count_processes(cfg: Config) -> int:
    """Returns the number of processes that the launcher of a config has started, 1 without a launcher."""
    return 1 if cfg.get('launcher', 'none') == 'none' else int(os.environ.get('WORLD_SIZE', 1))


def set_ranks(launcher: str) -> None:
    """Sets torchrun's environment variables from those of Slurm or Open MPI, if a process was started by them.

    MMEngine sets them only when it connects the processes.

    Raises:
        UsageError: If this is a batch script of several tasks, which would wait for the others, or Slurm does not tell
            the first machine.
    """
    if launcher == 'slurm' and 'SLURM_PROCID' in os.environ:
        if 'SLURM_STEP_ID' not in os.environ and os.environ['SLURM_NTASKS'] != '1':
            raise UsageError(f'launcher slurm needs processes that were started by srun, got a batch script of '
                             f'{os.environ["SLURM_NTASKS"]} tasks without it; the environment variable SLURM_STEP_ID '
                             'is not set')
        os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'],
                          LOCAL_RANK=os.environ['SLURM_LOCALID'])
        if 'MASTER_ADDR' not in os.environ:
            with named('launcher slurm, which asks scontrol for the environment variable MASTER_ADDR,'):
                command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
                names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                os.environ['MASTER_ADDR'] = names.split()[0]  # of the first machine
        # Jobs on the same node need different ports.
        os.environ.setdefault('MASTER_PORT', str(20000 + int(os.environ['SLURM_JOB_ID']) % 10000))
    if launcher == 'mpi' and 'OMPI_COMM_WORLD_RANK' in os.environ:
        for variable in ('RANK', 'LOCAL_RANK'):
            os.environ[variable] = os.environ[f'OMPI_COMM_WORLD_{variable}']
        os.environ.update(WORLD_SIZE=os.environ['OMPI_COMM_WORLD_SIZE'],
                          LOCAL_WORLD_SIZE=os.environ['OMPI_COMM_WORLD_LOCAL_SIZE'])
        if os.environ['WORLD_SIZE'] == os.environ['LOCAL_WORLD_SIZE']:  # else it must be set to the first machine
            os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
        os.environ.setdefault('MASTER_PORT', '29500')
