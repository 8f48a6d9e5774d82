"""The device on which MMEngine trains: the first accelerator that it knows and finds, or else the CPU."""
import torch
from mmengine.device import get_device


def has_mixed_precision() -> bool:
    """Returns whether MMEngine trains in mixed precision here, which it does neither on CPUs nor on Apple's GPUs."""
    return get_device() not in ('cpu', 'mps')


def number_of_accelerators() -> int:
    """Returns how many accelerators there are for training; 0 if MMEngine trains on the CPU."""
    device, known = get_device(), dict(cpu=0, mps=1)
    return known[device] if device in known else getattr(torch, device).device_count()
