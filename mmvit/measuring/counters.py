"""Counts the multiply-adds and the saved activations of models."""
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import FlopCounterMode

from mmvit_backbones.ops.dispatch import plain_pytorch


def count_macs(function: Callable, *inputs) -> float:
    """Returns the multiply-adds of convolutions and matrix products in ``function(*inputs)``, in units of 1e9.

    Models and inputs may be on the meta device, where nothing is computed.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), plain_pytorch(), counter:  # the counter has no formulas for this package's kernels
        function(*inputs)
    return counter.get_total_flops() / 2e9


def saved_bytes(function: Callable[[], object], *ignored: nn.Module) -> int:
    """Returns the bytes of the storages that autograd saves in ``function()``, without keeping them.

    Each storage counts once, and those of the parameters and buffers of ``ignored`` do not.
    """
    own = [tensor for module in ignored for tensor in (*module.parameters(), *module.buffers())]
    known = {StorageWeakRef(tensor.untyped_storage()) for tensor in own}
    total = 0

    def count(tensor: Tensor) -> None:
        nonlocal total
        storage = tensor.untyped_storage()
        if (reference := StorageWeakRef(storage)) not in known:
            known.add(reference)
            total += storage.nbytes()

    with torch.autograd.graph.saved_tensors_hooks(count, lambda nothing: nothing):
        function()
    return total
