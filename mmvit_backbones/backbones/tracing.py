"""Tracing for images of one size, by ``torch.jit.trace`` and by the ONNX exporter that is built on it."""
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.jit import TracerWarning  # pyright: ignore[reportPrivateImportUsage] - torch does not list it in __all__
from torch.overrides import TorchFunctionMode

SHAPE_OF = Tensor.shape.__get__  # pyright: ignore[reportAttributeAccessIssue] - a property, which torch calls a Size


class FixedSizes(TorchFunctionMode):
    """Makes all sizes except the batch size plain numbers.

    The tracer would record arithmetic of sizes as operators, but not the branches that depend on it, and its ONNX
    exporter divides negative sizes wrongly.
    """

    def __torch_function__(self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Size) and function in (SHAPE_OF, Tensor.size):
            return torch.Size([*result[:1], *map(int, result[1:])])
        return result


@contextmanager
def fixed_sizes() -> Iterator[None]:
    """Traces for images of one size, without the tracer's warnings about it."""
    with warnings.catch_warnings(), FixedSizes():
        warnings.simplefilter('ignore', TracerWarning)
        yield


def refuse_other_sizes(images: Tensor) -> Tensor:
    """Returns the images unchanged; the traced graph raises an error for images of another size."""
    return images.expand(-1, *images.shape[1:])


def warn_of_one_size(height: int, width: int) -> None:
    warnings.warn(f'traced at {height} x {width} pixels: the graph takes images of this size alone. torch.export and '
                  'torch.onnx.export(..., dynamo=True) make graphs for all sizes, as `mmvit export` does')
