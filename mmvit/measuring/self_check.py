"""Compares the backends of operators on a device with the reference in float64: results and gradients.

``mmvit doctor`` runs this module. Networks never do.
"""
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from mmvit_backbones.errors import first_line
from mmvit_backbones.ops.dispatch import BACKENDS, Operator
from mmvit_backbones.ops.triton import INTERPRETED
from mmvit_backbones.ops.varied_size_window import to_position_dtype
from mmvit_backbones.utils import versions

# Maximum deviation from the reference in float64, relative to the largest element. A kernel may also deviate four times
# as much as the reference in the same dtype.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
SIZES = (9, 12), (56, 56)  # of maps in tokens; the first is not divisible into windows

Randn = Callable[..., Tensor]  # randn(*shape) returns a tensor on the device and in the dtype of the check


class Check(NamedTuple):
    """The comparison of a backend with the reference in float64.

    Args:
        operator, backend (str): Names.
        dtype (torch.dtype): Dtype of the arguments.
        deviation (float): From the reference, relative to the largest element; NaN if it was not computed.
        fault (str | None): Why the backend must not be used, or None if it works.
    """
    operator: str
    backend: str
    dtype: torch.dtype
    deviation: float
    fault: str | None

    def __str__(self) -> str:
        verdict = f'fail, {self.fault}' if self.fault else 'pass'
        return f'{self.operator}, {self.backend}, {str(self.dtype)[6:]}: {verdict}, deviates by {self.deviation:.0e}'


def check_backends(operators: Iterable[Operator], device: torch.device) -> list[Check]:
    """Returns the checks of each operator's kernels that can run on a device, at the size where they deviate most."""
    dtypes = [dtype for dtype in TOLERANCES if device.type != 'cpu' or dtype != torch.float16]  # not on older CPUs
    return [check(operator, backend, dtype, device) for operator in operators for dtype in dtypes
            for backend in operator.kernels if backend != 'reference'
            and BACKENDS[backend].why_not(torch.empty(0, dtype=dtype, device=device)) is None]


def check(operator: Operator, backend: str, dtype: torch.dtype, device: torch.device) -> Check:
    """Compares a backend with the reference; Triton's interpreter runs the smallest size alone."""
    deviations = []
    for size in SIZES[:1] if backend == 'triton' and INTERPRETED else SIZES:
        arguments, exact = (arguments_of(operator, size, device, each) for each in (dtype, torch.float64))
        try:
            expected = values_of(operator, 'reference', exact)
            deviation, usual = (deviation_of(values_of(operator, each, arguments), expected)
                                for each in (backend, 'reference'))
        except Exception as error:  # compilers and drivers raise many types of errors
            return Check(operator.name, backend, dtype, math.nan, first_line(error))
        deviations.append(deviation)
        if not deviation <= max(limit_of(dtype), 4 * usual):
            return Check(operator.name, backend, dtype, deviation, 'wrong results or gradients')
    return Check(operator.name, backend, dtype, max(deviations), None)


def arguments_of(operator: Operator, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> dict:
    """Returns the arguments of a call of an operator at one of :data:`SIZES`."""
    generator = torch.Generator(device).manual_seed(0)

    def randn(*shape: int) -> Tensor:
        """Returns values that bfloat16 can represent, so that inputs are the same in all dtypes."""
        return torch.randn(shape, generator=generator, device=device).bfloat16().to(dtype)

    arguments = ARGUMENTS[operator.name](randn, *size)
    for name, x in arguments.items():
        if torch.is_tensor(x) and name != 'mask':  # for whose gradient kernels don't run
            x.requires_grad_()
    return arguments


def limit_of(dtype: torch.dtype) -> float:
    """Returns the deviation that is always allowed; TF32 has as many bits of precision as float16."""
    return TOLERANCES[torch.float16 if dtype == torch.float32 and versions.allows_tf32() else dtype]


def values_of(operator: Operator, backend: str, arguments: dict) -> list[Tensor | None]:
    """Returns the results of a call, followed by the gradients of their sum of squares; None if unused."""
    results = operator.kernels[backend].run(**arguments)
    results = results if isinstance(results, tuple) else (results, )
    leaves = [x for x in arguments.values() if torch.is_tensor(x) and x.requires_grad]
    return [*(x.detach() for x in results),
            *torch.autograd.grad(results, leaves, [2 * x.detach() for x in results], allow_unused=True)]


def deviation_of(actual: list[Tensor | None], expected: list[Tensor | None]) -> float:
    """Returns the largest deviation relative to the largest element of a tensor, or NaN if an element is NaN."""
    found = [(a.double() - e).abs().max() / e.abs().max().clamp_min(1e-30)
             for a, e in zip(actual, expected, strict=True) if a is not None and e is not None]
    return torch.stack(found).max().item()  # NaN if any is NaN


# ---- arguments of the operators


def residual_attention_arguments(randn: Randn, height: int, width: int) -> dict:
    """Returns the arguments with the windows of ReSwin-T's first stage."""
    windows = -(-height // 7) * -(-width // 7)
    q, k, v = randn(3, 1, windows, 3, 49, 32).unbind(0)
    return dict(q=q, k=k, v=v, prev_logits=randn(1, windows, 3, 49, 49), alpha=0.3, bias=randn(3, 49, 49),
                mask=randn(windows, 1, 49, 49))


def sampling_arguments(randn: Randn, height: int, width: int) -> dict:
    """Returns the arguments with the sizes of ViTAEv2-VSA-S's first stage.

    The windows of 7 x 7 tokens have positions that float32 represents exactly. No position is a whole pixel, where
    derivatives would depend on the rounding.
    """
    features = randn(1, height, width, 2, 32).permute(0, 3, 4, 1, 2)
    scale, offset = randn(2, 1, 2, 2, -(-height // 7), -(-width // 7)).unbind(0)
    scale, offset = to_position_dtype(offset, scale, offset)
    return dict(features=features, scale=(2 * scale).round() / 8, offset=(16 * offset).round() / 8 + 1 / 16,
                window_size=7, top=0, left=0)


def attention_arguments(randn: Randn, height: int, width: int) -> dict:
    """Returns the arguments with the windows of :func:`sampling_arguments`."""
    sampling = sampling_arguments(randn, height, width)
    k = sampling.pop('features')
    bias_table, = to_position_dtype(k, randn(13**2, 2))
    return dict(q=torch.empty_like(k).copy_(randn(*k.shape)), k=k, v=torch.empty_like(k).copy_(randn(*k.shape)),
                bias_table=bias_table, softmax_scale=0.2, **sampling)


ARGUMENTS: dict[str, Callable[[Randn, int, int], dict]] = {  # by operator
    'residual attention': residual_attention_arguments, 'varied-size window sampling': sampling_arguments,
    'varied-size window attention': attention_arguments}
