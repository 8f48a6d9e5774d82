"""Autograd support for operators that launch Triton kernels."""
import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...utils import versions


class FirstDerivative(torch.autograd.Function):
    """Returns a gradient as it is, and raises an error if it is differentiated by any of its sources."""

    @staticmethod
    def forward(ctx, gradient: Tensor | None, *sources: Tensor | None) -> Tensor | None:
        return gradient

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError('kernels have only first derivatives; for second derivatives, compute the forward pass '
                           'inside `with mmvit_backbones.ops.plain_pytorch():`')


def differentiable(forward: Callable, backward: Callable, num_results: int = 1,
                   shapes_of: Sequence[str] = ()) -> Callable:
    """Combines a forward and a backward function into a function that autograd can differentiate once.

    The returned function takes keyword arguments only.

    Args:
        forward (Callable): Takes tensors, numbers or None, and returns a tuple of tensors: the results, followed by
            other tensors that the backward pass needs.
        backward (Callable): ``backward(outputs, grads, **arguments)`` returns a dict of gradients by argument name.
            ``outputs`` is the tuple that ``forward`` returned. ``grads`` has the gradients of the results, None for
            unused results.
        num_results (int): Number of results. A single result is returned without a tuple. Defaults to 1.
        shapes_of (Sequence[str]): Names of tensors that are not saved. ``backward`` gets only their shapes. Defaults
            to an empty tuple.
    """
    names = tuple(inspect.signature(forward).parameters)

    class Kernels(torch.autograd.Function):

        @staticmethod
        def forward(*arguments):
            return forward(*arguments)

        @staticmethod
        def setup_context(ctx, inputs, output):
            inputs = [x.shape if name in shapes_of and x is not None else x for name, x in zip(names, inputs)]
            ctx.numbers = [None if torch.is_tensor(x) else x for x in inputs]
            ctx.save_for_backward(*(x if torch.is_tensor(x) else None for x in inputs), *output)
            ctx.mark_non_differentiable(*output[num_results:])
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx, *grads):
            saved = ctx.saved_tensors
            arguments = {name: number if x is None else x for name, x, number in zip(names, saved, ctx.numbers)}
            with torch.no_grad():
                gradients = backward(saved[len(names):], grads[:num_results], **arguments)
            if torch.is_grad_enabled() and not versions.is_compiling():  # create_graph=True
                gradients = {name: FirstDerivative.apply(x, *saved, *grads) for name, x in gradients.items()}
            return tuple(gradients.get(name) for name in names)

    def run(**arguments) -> Tensor | tuple[Tensor, ...]:
        in_order = [arguments[name] for name in names]
        # If no input requires gradients, torch.compile binds the arguments of a Function to the wrong parameters.
        is_differentiated = torch.is_grad_enabled() and any(torch.is_tensor(x) and x.requires_grad for x in in_order)
        results = (Kernels.apply if is_differentiated else forward)(*in_order)
        return results[0] if num_results == 1 else results[:num_results]

    return run
