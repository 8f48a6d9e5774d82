"""Activation checkpointing (Chen et al., arXiv 1604.06174) of blocks with dropout and batch norms."""
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..ops.graphs import is_compiling


def checkpointed(block: nn.Module, *args) -> Any:
    """Calls a block with activation checkpointing: its activations are not saved, but computed again when needed.

    The second computation uses the same random numbers as the first, and doesn't update buffers, such as the running
    statistics of batch norms, a second time.
    """
    if is_compiling():  # torch.compile supports context_fn for selective checkpointing only
        return checkpoint(block, *args, use_reentrant=False)
    return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), with_copied_buffers(block)))


@contextmanager
def with_copied_buffers(block: nn.Module) -> Iterator[None]:
    """Lets the layers of a block update copies of their buffers, without changing their results."""
    buffers = [(module, name, buffer) for module in block.modules()
               for name, buffer in module.named_buffers(recurse=False)]
    for module, name, buffer in buffers:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
