"""Tracing for images of one size, with ``torch.jit.trace`` and with the ONNX exporter built on it."""
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.jit import TracerWarning  # pyright: ignore[reportPrivateImportUsage] - torch does not list it in __all__
from torch.overrides import TorchFunctionMode

SHAPE_OF = Tensor.shape.__get__  # pyright: ignore[reportAttributeAccessIssue] - a property at run time, annotated as Size


class FixedSizes(TorchFunctionMode):
    """Makes all sizes except the batch size plain numbers, which are constants in the traced graph.

    Otherwise, the tracer records arithmetic on sizes, but not the branches that depend on the results. The ONNX
    exporter would also turn floor division into truncation, which differs for negative numbers.
    """

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Size) and function in (SHAPE_OF, Tensor.size):
            return torch.Size([*result[:1], *map(int, result[1:])])
        return result


@contextmanager
def fixed_sizes() -> Iterator[None]:
    """Fixes the image size while tracing, and silences the tracer's warnings about constant sizes."""
    with warnings.catch_warnings(), FixedSizes():
        warnings.simplefilter('ignore', TracerWarning)
        yield


def refuse_other_sizes(images: Tensor) -> Tensor:
    """Returns the images unchanged; the traced graph raises an error for images of another size."""
    for dim, size in enumerate(images.shape[1:], start=1):
        images, = images.split([size], dim)  # unlike `expand`, also an error for a size of 1
    return images


def warn_of_one_size(height: int, width: int) -> None:
    warnings.warn(f'traced at {height} x {width} pixels (height x width): the graph accepts only images of this size. '
                  'For a graph that accepts all sizes, use `mmvit export`, or use dynamic_shapes with torch.export or '
                  'torch.onnx.export(..., dynamo=True)')
