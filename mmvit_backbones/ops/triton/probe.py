"""Compiles and runs kernels on tiny inputs, because what Triton needs, such as a C compiler, may be missing."""
from collections.abc import Callable
from functools import cache
from threading import Thread

import torch

from ...utils import versions


def run_residual_attention(device: torch.device) -> None:
    from . import residual_attention
    for tokens in 16, 17:  # a window that is one block, and one of several blocks
        q, logits = (torch.zeros(1, 1, 1, tokens, n, dtype=torch.float16, device=device, requires_grad=True)
                     for n in (16, tokens))
        out, others = residual_attention.run(q=q, k=q, v=q, prev_logits=logits, alpha=0.5, bias=logits, mask=None)
        (out.sum() + others.sum()).backward()


def run_sampling(device: torch.device) -> None:
    from . import window_sampling
    features, place = tiny_map(device)
    window_sampling.run(features=features, scale=place, offset=place, window_size=2, top=0, left=0).sum().backward()


def run_window_attention(device: torch.device) -> None:
    from . import varied_size_window
    q, place = tiny_map(device)
    table = torch.zeros(9, 1, device=device, requires_grad=True)
    varied_size_window.run(q=q, k=q, v=q, scale=place, offset=place, bias_table=table, window_size=2, top=0, left=0,
                           softmax_scale=1.).sum().backward()


def tiny_map(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a map of one window of 2 x 2 tokens, and its scale or offset."""
    return (torch.zeros(1, 1, 16, 2, 2, dtype=torch.float16, device=device, requires_grad=True),
            torch.zeros(1, 1, 2, 1, 1, device=device, requires_grad=True))


# Functions that run all kernels of an operator, forward and backward, by the operator's name.
PROBES: dict[str, Callable[[torch.device], None]] = {
    'residual attention': run_residual_attention,
    'varied-size window sampling': run_sampling,
    'varied-size window attention': run_window_attention,
}


@versions.constant_in_graphs
def why_not_run(name: str, index: int) -> str | None:
    """Returns the error of an operator's kernels on a GPU, or None if they run."""
    return _why_not_run(name, index)


@cache
def _why_not_run(name: str, index: int) -> str | None:
    errors = []

    def probe() -> None:
        try:
            PROBES[name](torch.device('cuda', index))
            torch.cuda.synchronize(index)
        except Exception as error:  # compilers and drivers raise any exception
            errors.append(f'its kernels fail: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}')

    # The calling thread may trace a graph, or run in inference mode.
    thread = Thread(target=probe)
    thread.start()
    thread.join()
    return errors[0] if errors else None
