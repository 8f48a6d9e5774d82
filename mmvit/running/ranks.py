"""Connects the processes of a run that a launcher has started."""
import os
import subprocess

import torch
from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..utils.devices import gpu_of_process, number_of_accelerators


def check_launcher(launcher: str) -> None:
    """Raises UsageError if the launcher has not started this process, which has its rank in environment variables."""
    programs = dict(slurm='srun', mpi="Open MPI's mpirun", pytorch='torchrun; use --processes N to start them')
    if missing := [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT') if not os.environ.get(name)]:
        raise UsageError(f'--launcher {launcher} needs processes that were started by {programs[launcher]}; the '
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
    if accelerators := number_of_accelerators():
        if launcher == 'slurm':
            # MMEngine uses it as the index of the GPU.
            os.environ['SLURM_LOCALID'] = str(gpu_of_process(accelerators))
        return
    torch.distributed.init_process_group('gloo')


def set_ranks(launcher: str) -> None:
    """Sets torchrun's environment variables from those of Slurm or Open MPI, if a process was started by them.

    MMEngine sets them only when it connects the processes.
    """
    if launcher == 'slurm' and 'SLURM_PROCID' in os.environ:
        os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'],
                          LOCAL_RANK=os.environ['SLURM_LOCALID'])
        hosts = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
                               capture_output=True, text=True, check=True)
        os.environ.setdefault('MASTER_ADDR', hosts.stdout.split()[0])
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
