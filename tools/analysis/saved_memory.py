"""Measures the memory that autograd saves for the backward pass."""
import torch
from torch import Tensor, nn

from mmvit_backbones.utils.measure import storage_key


class SavedStorages(torch.autograd.graph.saved_tensors_hooks):
    """Records the storages saved for the backward pass, once each, except those of ``ignored``.

    Attributes:
        tensors (list[Tensor]): One saved tensor per storage, in the order of the forward pass.
    """

    def __init__(self, *ignored: nn.Module | Tensor) -> None:
        super().__init__(self.note, lambda tensor: tensor)
        tensors = [t for x in ignored for t in ([x] if isinstance(x, Tensor) else [*x.parameters(), *x.buffers()])]
        self.keys, self.tensors = {storage_key(t) for t in tensors}, []

    def __enter__(self) -> 'SavedStorages':
        super().__enter__()
        return self

    def note(self, tensor: Tensor) -> Tensor:
        if storage_key(tensor) not in self.keys:
            self.keys.add(storage_key(tensor))
            self.tensors.append(tensor)  # kept, so that no other gets its address
        return tensor

    @property
    def num_bytes(self) -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in self.tensors)
