"""Saved activations that are cheap to recompute.

A linear layer or a convolution saves its input for the backward pass. Where the input is the output of a norm or an
activation, which itself saves what it was computed from, the input is saved twice over. Here it is recomputed instead
(Chen et al., arXiv 1604.06174, on the smallest scale): one elementwise kernel more in the backward pass, and no
module is called twice.

    hidden = recomputable(self.act, x)
    return recompute_input(self.fc2, hidden)

On the CPU alone: a GPU's time goes to reading and writing memory, of which this needs more, and ``with_cp`` saves more
memory there. Compilers decide by themselves what to recompute, and get plain calls.
"""
from collections.abc import Callable

import torch
from torch import Tensor


def recomputable(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)``, marked as something that :func:`recompute_input` may recompute.

    ``function`` must use neither random numbers nor running statistics.
    """
    y = function(*inputs)
    if (y.device.type == 'cpu' and torch.is_grad_enabled() and not torch.compiler.is_compiling()
            and not any(y is x for x in inputs)):
        y.recipe = function, inputs
    return y


def recompute_input(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``layer(x)``; an ``x`` that :func:`recomputable` marked is not saved for the backward pass, but recomputed.

    ``layer`` is a module that saves its input. An ``x`` that is not marked, such as a view of a marked one, is saved as
    usual.
    """
    recipe = getattr(x, 'recipe', None)
    if (recipe is None or torch.compiler.is_compiling() or not torch.is_grad_enabled()
            or not torch._C._autograd._saved_tensors_hooks_is_enabled()):  # torch.func refuses hooks
        return layer(x)
    function, inputs = recipe
    autocast, autocast_dtype = torch.is_autocast_enabled('cpu'), torch.get_autocast_dtype('cpu')
    if autocast and x.dtype == torch.float32:  # the layer would cast it, and save the result
        x = x.to(autocast_dtype)
    dtype, storage = x.dtype, x.untyped_storage()._cdata
    saved = _Saved.apply(torch.empty(0, requires_grad=True), *inputs)

    def pack(tensor: Tensor) -> Tensor | tuple:
        if tensor.untyped_storage()._cdata != storage:
            return tensor
        return tensor.shape, tensor.stride(), tensor.storage_offset()

    def unpack(packed: Tensor | tuple) -> Tensor:
        if torch.is_tensor(packed):
            return packed
        inputs = saved.grad_fn.saved_tensors
        with torch.no_grad(), torch.autocast('cpu', autocast_dtype, enabled=autocast):
            return function(*inputs).to(dtype).as_strided(*packed)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return layer(x)


class _Saved(torch.autograd.Function):
    """Saves tensors where hooks of a caller, such as those of activation checkpointing, see them."""

    @staticmethod
    def forward(ctx, dummy: Tensor, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return dummy.new_empty(0)
