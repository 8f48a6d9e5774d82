"""``python -m mmvit_backbones.doctor``: which form of the operators runs here, and what the faster ones lack."""
import platform

import torch

from .ops import library
from .version import __version__


def describe() -> list[str]:
    """The findings, one line each."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    lines = [
        f'mmvit_backbones {__version__}, torch {torch.__version__}, Python {platform.python_version()}, GPU: {gpu}',
        'varied-size windows, plain PyTorch: runs everywhere',
    ]
    for backend, title in (('cpp', 'C++ (CPU)'), ('cuda', 'CUDA')):
        reason = library.MISSING[backend]
        if reason is None and backend == 'cuda' and gpu == 'none':
            lines.append(f'varied-size windows, {title}: built, but there is no GPU')
        elif reason is None:
            lines.append(f'varied-size windows, {title}: runs')
        else:
            lines.append(f'varied-size windows, {title}: missing, {reason}; {library.HOW_TO_BUILD}')
    for device, backend in (('CPU', 'cpp'), ('CUDA', 'cuda')):
        form = backend if library.MISSING[backend] is None else 'reference'
        lines.append(f'{device} tensors take the form {form!r}')
    return lines


if __name__ == '__main__':
    print('\n'.join(describe()))
