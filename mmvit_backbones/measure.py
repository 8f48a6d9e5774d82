"""What a model costs, counted: kernels, bytes moved, saved activations, peak memory."""
import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

VIEWS = frozenset("""view permute transpose expand unsqueeze squeeze slice select split unbind t detach alias as_strided
    _unsafe_view chunk split_with_sizes diagonal _reshape_alias unfold lift_fresh set_ empty empty_like new_empty
    empty_strided new_empty_strided""".split())


class SavedStorages(torch.autograd.graph.saved_tensors_hooks):
    """Notes the storages that are saved for the backward pass, each once; those of ``ignored`` are not counted.

    Attributes:
        tensors (list[Tensor]): What was saved, one tensor for each storage, in the order of the forward pass.
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


def storage_key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class Traffic(TorchDispatchMode):
    """Counts operators as a GPU launches them in eager mode, and the bytes that they move.

    Each call that is no view counts as one kernel, which reads its tensor arguments and writes its results; so does
    an operator of ``torch.library``, or writes arguments, where it returns nothing. A model of execution: it knows
    nothing of caches.

    Attributes:
        kernels (int): Calls.
        num_bytes (int): Bytes read and written.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.num_bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        results = tensors_in(out)
        if not results:  # what writes to its arguments
            results = [x for x, spec in zip(args, function._schema.arguments) if spec.alias_info and torch.is_tensor(x)]
        if function._schema.name.split('::')[1] not in VIEWS and results:
            self.kernels += 1
            self.num_bytes += sum(t.numel() * t.element_size() for t in (*tensors_in((args, kwargs)), *results))
        return out


class FusedAttention(TorchFunctionMode):
    """``scaled_dot_product_attention`` as one kernel forward and one backward, as it runs on a GPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        is_attention = function is F.scaled_dot_product_attention
        return (memory_efficient_attention if is_attention else function)(*args, **(kwargs or {}))


def memory_efficient_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
                               dropout_p: float = 0., is_causal: bool = False, scale: float | None = None) -> Tensor:
    """torch's kernel for masks and all dtypes, which it does not choose for meta tensors itself."""
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale)[0]


def count_traffic(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> dict[str, dict]:
    """Kernels and bytes of a forward pass and of a training step, on the meta device: nothing is computed.

    Args:
        model (nn.Module): Is moved to the meta device and converted, in place.
        shape (tuple[int, ...]): Of the images, ``(B, C, H, W)``.
        dtype (torch.dtype): Of weights and images. Defaults to bfloat16.

    Returns:
        dict[str, dict]: ``kernels`` (int) and ``gb`` (float, 1e9 bytes) of ``'forward'``, in evaluation mode, and of
        ``'step'``: forward in training mode, mean of squares of the results, backward.
    """
    model.to(device='meta', dtype=dtype)
    images = torch.empty(shape, device='meta', dtype=dtype)
    counted = {}
    for name in ('forward', 'step'):
        model.train(name == 'step')
        with torch.set_grad_enabled(name == 'step'), Traffic() as traffic, FusedAttention():
            results = tensors_in(model(images))
            if name == 'step':
                sum(t.float().pow(2).mean() for t in results if t.requires_grad).backward()
        counted[name] = dict(kernels=traffic.kernels, gb=round(traffic.num_bytes / 1e9, 2))
    return counted


def tensors_in(x: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor)]


def count_memory(model: nn.Module, images: Tensor) -> dict[str, int]:
    """Bytes of a model on the meta device, by what it does."""
    with torch.no_grad(), LiveBytes() as inference:
        model.eval()(images)
    with LiveBytes() as training:
        outputs = model.train()(images)
        saved = training.bytes
        sum(out.square().mean() for out in outputs).backward()
    return dict(inference=inference.peak, saved=saved, training=training.peak)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operators have made and that still live, now and at the peak."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        before = {storage_key(t) for t in tensors_in((args, kwargs))}
        out = function(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            if storage_key(tensor) not in before | self.known:
                self.add(tensor.untyped_storage())
        return out

    def add(self, storage: torch.UntypedStorage) -> None:
        self.known.add(storage._cdata)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self.remove, storage._cdata, storage.nbytes())

    def remove(self, key: int, nbytes: int) -> None:
        self.known.discard(key)
        self.bytes -= nbytes
