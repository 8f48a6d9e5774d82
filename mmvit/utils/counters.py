"""Counts the multiply-adds and the saved activations of models."""
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmvit_backbones.ops.dispatch import plain_pytorch


def storage_key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def count_macs(function: Callable, *inputs) -> float:
    """Returns the multiply-adds of convolutions and matrix products in ``function(*inputs)``, in units of 1e9.

    Models and inputs may be on the meta device, where nothing is computed.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), plain_pytorch(), counter:  # the counter has no formulas for this package's kernels
        function(*inputs)
    return counter.get_total_flops() / 2e9


@contextmanager
def saved_storages(*ignored: nn.Module | Tensor) -> Iterator[list[Tensor]]:
    """Yields a list of the tensors saved for the backward pass: one per storage, except those of ``ignored``."""
    tensors = [t for x in ignored for t in ([x] if isinstance(x, Tensor) else [*x.parameters(), *x.buffers()])]
    known = {storage_key(tensor) for tensor in tensors}
    saved: list[Tensor] = []  # keeps storages alive, so that their addresses are not reused

    def record(tensor: Tensor) -> Tensor:
        if storage_key(tensor) not in known:
            known.add(storage_key(tensor))
            saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        yield saved


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Returns the size of the storages of tensors."""
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
