"""Autograd support for operators that launch Triton kernels."""
import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext

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
        forward (Callable): Takes tensors or None, and numbers, which are annotated as int or float. Returns a tuple of
            tensors: the results, followed by other tensors that the backward pass needs.
        backward (Callable): ``backward(outputs, grads, **arguments)`` returns a dict of gradients by argument name.
            ``outputs`` is the tuple that ``forward`` returned. ``grads`` has the gradients of the results, None for
            unused results.
        num_results (int): Number of results. A single result is returned without a tuple. Defaults to 1.
        shapes_of (Sequence[str]): Names of tensors that are not saved. ``backward`` gets only their shapes. Defaults
            to an empty tuple.
    """
    parameters = inspect.signature(forward).parameters
    names = tuple(parameters)
    others = [name for name in names if name in shapes_of or parameters[name].annotation in (int, float)]
    tensors = [name for name in names if name not in others]
    indices, other_indices = ([names.index(name) for name in group] for group in (tensors, others))

    class Kernels(torch.autograd.Function):

        @staticmethod
        def forward(ctx, *arguments):  # without setup_context, which takes as long as a kernel's launch
            output = forward(*arguments)
            ctx.save_for_backward(*[arguments[index] for index in indices], *output)
            found = [arguments[index] for index in other_indices]
            ctx.others = [x.shape if isinstance(x, Tensor) else x for x in found]
            if len(output) > num_results:
                ctx.mark_non_differentiable(*output[num_results:])
            ctx.set_materialize_grads(False)
            return output

        @staticmethod
        def backward(ctx, *grads):
            saved = ctx.saved_tensors
            arguments = dict(zip(tensors, saved)) | dict(zip(others, ctx.others))
            with torch.no_grad() if torch.is_grad_enabled() else nullcontext():  # the former takes time
                gradients = backward(saved[len(tensors):], grads[:num_results], **arguments)
            if torch.is_grad_enabled() and not versions.is_compiling():  # create_graph=True
                gradients = {name: FirstDerivative.apply(x, *saved, *grads) for name, x in gradients.items()}
            return tuple([gradients.get(name) for name in names])

    def run(**arguments) -> Tensor | tuple[Tensor, ...]:
        in_order = [arguments[name] for name in names]
        is_differentiated = torch.is_grad_enabled() and any([isinstance(x, Tensor) and x.requires_grad
                                                             for x in in_order])
        # Kernels.apply would cost time, and torch.compile would bind its arguments to the wrong parameters.
        results = (Kernels.apply if is_differentiated else forward)(*in_order)
        return results[0] if num_results == 1 else results[:num_results]

    return run
