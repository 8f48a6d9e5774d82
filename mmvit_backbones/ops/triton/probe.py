"""Compiles and runs the kernels on tiny inputs, because what Triton needs, such as a C compiler, may be missing."""
from functools import cache
from threading import Thread

import torch

from ...utils import versions


def run_kernels(device: torch.device) -> None:
    """Runs all kernels, forward and backward."""
    from . import residual_attention
    for tokens in 16, 17:  # a window that is one block, and one of several blocks
        q, logits = (torch.zeros(1, 1, 1, tokens, n, dtype=torch.float16, device=device, requires_grad=True)
                     for n in (16, tokens))
        out, others = residual_attention.run(q=q, k=q, v=q, prev_logits=logits, alpha=0.5, bias=logits, mask=None)
        (out.sum() + others.sum()).backward()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


@versions.constant_in_graphs
def error_on_gpu(index: int) -> str | None:
    """Returns the error of the kernels on a GPU, or None if they run."""
    return _error_on_gpu(index)


@cache
def _error_on_gpu(index: int) -> str | None:
    errors = []

    def probe() -> None:
        try:
            run_kernels(torch.device('cuda', index))
        except Exception as error:  # compilers and drivers raise any exception
            errors.append(f'its kernels fail: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}')

    # The calling thread may trace a graph, or run in inference mode.
    thread = Thread(target=probe)
    thread.start()
    thread.join()
    return errors[0] if errors else None
