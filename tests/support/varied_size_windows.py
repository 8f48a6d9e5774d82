"""Helpers for tests of varied-size windows: random arguments, comparisons of backends, and goldens."""
import torch
from golden import digest, make_input, mismatch
from golden_files import GOLDENS

from mmvit_backbones.ops import varied_size_window_attention

DEVICES = {'reference': 'cpu', 'cpp': 'cpu', 'cuda': 'cuda'}
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def problem(batch: int, heads: int, d: int, height: int, width: int, ws: int, pad: tuple[int, int] = (0, 0),
            grid: tuple[int, int] | None = None, dtype: torch.dtype = torch.float64,
            generator: torch.Generator | None = None, spread: float = 1.) -> dict:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    grid = grid or (-(-height // ws), -(-width // ws))
    q, k, v = normal(batch, height, width, 3, heads, d).permute(3, 0, 4, 5, 1, 2)  # a packed projection
    return dict(q=q, k=k, v=v, scale=0.5 * normal(batch, heads, 2, *grid),
                offset=spread * 2 * normal(batch, heads, 2, *grid), bias_table=normal((2 * ws - 1)**2, heads),
                window_size=ws, pad=pad)


def evaluate(arguments: dict, backend: str, operator=varied_size_window_attention) -> dict[str, torch.Tensor]:
    """Returns the result and all gradients, on the CPU."""
    tensors = {key: x.detach().to(DEVICES[backend]).requires_grad_()
               for key, x in arguments.items() if isinstance(x, torch.Tensor)}
    out = operator(**{**arguments, **tensors}, backend=backend)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out)
    # For empty batches, newer versions of torch omit gradients of 0. Otherwise, a missing gradient is an error.
    gradients = torch.autograd.grad(out, list(tensors.values()), grad, materialize_grads=out.numel() == 0)
    return {'out': out.detach().cpu(), **{f'grad_{key}': x.cpu() for key, x in zip(tensors, gradients)}}


def sampling_of(arguments: dict) -> dict:
    return dict(features=arguments['k'], **{key: arguments[key] for key in ('scale', 'offset', 'window_size', 'pad')})


def assert_agree(actual: dict, expected: dict, tolerance: float) -> None:
    """Asserts that deviations, relative to the root mean square of the expected tensor, are within the tolerance."""
    for name, x in expected.items():
        assert actual[name].shape == x.shape and actual[name].dtype == x.dtype, name
        if x.numel():
            error = (actual[name].double() - x.double()).abs().max() / x.double().square().mean().sqrt().clamp(min=1e-3)
            assert error <= tolerance, f'{name}: {error}'


def golden_cases(operator: str) -> list[tuple[dict, float]]:
    """Returns the golden cases of an operator, each with its relative tolerance."""
    return [(case, golden['rtol']) for golden in GOLDENS.values() if golden.get('op') == operator
            for case in golden['cases']]


def golden_inputs(case: dict) -> dict[str, torch.Tensor]:
    return {
        name: (spec['shift'] + spec['gain'] * make_input(spec['shape'], spec['seed'])).requires_grad_()
        for name, spec in case['inputs'].items()
    }


def deviations(case: dict, actual: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: mismatch(digest(actual[name]), expected) for name, expected in case['outputs'].items()}
