"""The device on which MMEngine trains: the first accelerator that it knows and finds, or else the CPU."""
import os

import torch
from mmengine.device import get_device

from mmvit_backbones.errors import UsageError


def has_mixed_precision() -> bool:
    """Returns whether MMEngine trains in mixed precision here, which it does neither on CPUs nor on Apple's GPUs."""
    return get_device() not in ('cpu', 'mps')


def number_of_accelerators() -> int:
    """Returns how many accelerators there are for training; 0 if MMEngine trains on the CPU."""
    device, known = get_device(), dict(cpu=0, mps=1)
    return known[device] if device in known else getattr(torch, device).device_count()


def use_own_gpu() -> None:
    """Lets this process use the GPU of its rank, before anything allocates memory on another one."""
    if get_device() == 'cuda':
        torch.cuda.set_device(gpu_of_process(torch.cuda.device_count()))


def gpu_of_process(num_gpus: int) -> int:
    """Returns the index of this process's GPU; with one visible GPU per process, as Slurm can provide, it is 0."""
    return int(os.environ['LOCAL_RANK']) % num_gpus


def check_number_of_processes(processes: int) -> None:
    """Raises UsageError if there are fewer GPUs than processes. Without GPUs, processes run on the CPU."""
    accelerators = number_of_accelerators()
    if accelerators and processes > accelerators:
        raise UsageError(f'{processes} processes need one GPU each, but this machine has {accelerators}')
