"""Counts the kernels, memory traffic and peak memory of models on the meta device."""
import weakref
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from helpers import tree_leaves
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmvit_backbones.utils import versions
from mmvit_backbones.zoo.building import model_config
from mmvit_backbones.zoo.variants import VARIANTS

VIEWS = frozenset("""view permute transpose expand unsqueeze squeeze slice select split unbind t detach alias as_strided
    _unsafe_view chunk split_with_sizes diagonal _reshape_alias unfold lift_fresh set_ empty empty_like new_empty
    empty_strided new_empty_strided""".split())


class Counter(TorchDispatchMode):
    """Counts the kernels that a GPU would launch in eager mode, and the bytes that they move and allocate.

    Every operator call, including calls of ``torch.library`` operators, counts as one kernel that reads its tensor
    arguments and writes its results. Views and uninitialized allocations do not count. An operator without results
    writes to its mutable arguments. Hardware caches, and memory that libraries allocate inside an operator, are
    ignored.

    Attributes:
        kernels (int): Number of kernel launches.
        moved (int): Bytes read and written.
        live, peak (int): Current and peak bytes of the tensors that operators have allocated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = self.moved = self.live = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        inputs = tensors_in((args, kwargs))
        out = function(*args, **(kwargs or {}))
        results = tensors_in(out)
        given = {storage_key(t) for t in inputs}
        for tensor in results:
            if storage_key(tensor) not in given and storage_key(tensor) not in self.known:
                self.add(tensor.untyped_storage())
        if not results:  # the operator writes to its arguments
            results = tensors_in([x for x, spec in zip(args, function._schema.arguments) if spec.alias_info])
        if function._schema.name.split('::')[1] not in VIEWS and results:
            self.kernels += 1
            self.moved += sum(t.numel() * t.element_size() for t in (*inputs, *results))
        return out

    def add(self, storage: torch.UntypedStorage) -> None:
        self.known.add(storage._cdata)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.remove, storage._cdata, storage.nbytes())

    def remove(self, key: int, nbytes: int) -> None:
        self.known.discard(key)
        self.live -= nbytes


class FusedAttention(TorchFunctionMode):
    """Makes ``F.scaled_dot_product_attention`` count as one forward and one backward kernel, as if fused."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention:
            function = memory_efficient_attention
        return function(*args, **(kwargs or {}))


def memory_efficient_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
                               dropout_p: float = 0., is_causal: bool = False, scale: float | None = None) -> Tensor:
    """Calls PyTorch's memory-efficient kernel, which PyTorch itself does not select for meta tensors.

    PyTorch fuses attention of four dimensions alone; other attention is counted as it runs.
    """
    if query.ndim != 4:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale)[0]


def count(model: nn.Module, images: Tensor) -> dict[str, dict[str, int]]:
    """Counts a forward pass and a training step of a model on the meta device, without computing them.

    Args:
        model (nn.Module): Model on the meta device that returns one or more tensors.
        images (Tensor): ``(B, C, H, W)``, on the meta device.

    Returns:
        dict[str, dict[str, int]]: ``kernels``, ``moved`` and ``peak`` of :class:`Counter` for ``'forward'``, a forward
        pass in evaluation mode, and ``'step'``, a forward pass in training mode and the backward pass of a mean-square
        loss. ``'step'`` also has ``saved``, the bytes in use after the forward pass: outputs, and tensors saved for the
        backward pass. If a module sets ``with_cp=True``, ``'step'`` counts attention as unfused.
    """
    with torch.no_grad(), Counter() as forward, FusedAttention():
        model.eval()(images)
    # PyTorch disables function modes in the backward pass, so attention computed again there would not be fused. To be
    # consistent, attention in the forward pass of the step is then not fused either.
    is_checkpointed = any(getattr(module, 'with_cp', False) for module in model.modules())
    if is_checkpointed:
        assert not versions.is_older('2.6'), 'torch.utils.checkpoint on the meta device (132684, 137715)'
    with Counter() as step, nullcontext() if is_checkpointed else FusedAttention():
        results = tensors_in(model.train()(images))
        saved = step.live
        loss = sum(x.float().square().mean() for x in results if x.requires_grad)
        torch.as_tensor(loss).backward()
    totals = [dict(kernels=counter.kernels, moved=counter.moved, peak=counter.peak) for counter in (forward, step)]
    return dict(forward=totals[0], step=dict(totals[1], saved=saved))


def storage_key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def tensors_in(x: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor)]


def count_classifier(name: str) -> dict[str, dict[str, int]]:
    """Counts a batch of 64 images of 224 x 224 in bfloat16, without stochastic depth, as the authors' figures are."""
    with torch.device('meta'):
        images = torch.empty(64, 3, 224, 224, dtype=torch.bfloat16)
        return count(MODELS.build(model_config(VARIANTS[name], 'classification')).to(images.dtype), images)
