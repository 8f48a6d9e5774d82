"""Compiles the CUDA kernels for the CPU, and tests them in place of the C++ backend: ``run_tests.py FOLDER``.

The library is written to FOLDER. Each thread of a block is emulated by a fiber (see ``block.h``). The tests show
whether the kernels compute correct results, but not whether they run on a GPU, and they do not detect data races.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvit_backbones.ops import build, varied_size_window_sample
from mmvit_backbones.ops.dispatch import is_plain
from mmvit_backbones.ops.varied_size_window import ATTENTION

HERE = Path(__file__).resolve().parent
# Selected tests by order of the fibers.
TESTS = {
    'forward': 'golden or not_finite or dtypes or packed_projection or second_derivatives or windows_opcheck',
    'reverse': 'golden or dtypes and usual',
}


def compile_library(folder: Path) -> Path:
    torch_flags, torch_libraries = build.torch_flags()
    plan = subprocess.run([build.find_nvcc(), '--dryrun', '-x', 'cu', '-c', '/dev/null'], capture_output=True,
                          text=True)
    cuda = Path(re.search(r'TOP=(\S+)', plan.stderr)[1])  # nvcc may be a script in another folder
    headers = [f'-DMMVIT_DEVICE_PRIMITIVES="{HERE / "block.h"}"', f'-DMMVIT_DEVICE_HEADER="{HERE / "device.h"}"']
    flags = [*torch_flags, *build.LIBRARY_FLAGS, f'-I{cuda / "include"}', f'-I{build.SOURCES}', *headers]
    compiler = build.find_compiler()
    commands = [[*compiler, *flags, '-x', 'c++', '-c', source, '-o', folder / f'{source.stem}.o']
                for source in sorted(build.SOURCES.glob('*_kernels.cu'))]
    commands.append([*compiler, *flags, '-c', build.SOURCES / 'cuda_operators.cpp', '-o', folder / 'cuda_operators.o'])
    build.run_all(commands)
    library = folder / 'libemulated.so'
    build.run([*compiler, '-shared', *folder.glob('*.o'), *torch_libraries, '-o', library])
    return library


def check_deterministic_algorithms() -> None:
    """Asserts that the gradient of the sampling raises PyTorch's error for operations that aren't deterministic."""
    features, places = torch.ones(1, 1, 1, 2, 2, requires_grad=True), torch.zeros(1, 1, 2, 1, 1)
    sampled = varied_size_window_sample(features, places, places, 2, backend='cpp')
    torch.use_deterministic_algorithms(True)
    try:
        sampled.sum().backward()
    except RuntimeError as error:
        assert 'does not have a deterministic implementation' in str(error), error
    else:
        raise AssertionError('the gradient must not be computed by atomic additions')
    finally:
        torch.use_deterministic_algorithms(False)


if __name__ == '__main__':
    library = Path(sys.argv[1], 'libemulated.so')
    if not library.exists():
        try:
            compile_library(Path(sys.argv[1]))
        except (build.BuildError, subprocess.SubprocessError) as error:
            sys.exit(f'the emulated kernels cannot be compiled: {error}')
    torch.ops.load_library(library)
    check_deterministic_algorithms()
    # The C++ backend has a kernel of its own for attention, and no kernel for what CUDA's attention calls.
    ATTENTION.kernels['cpp'] = ATTENTION.kernels['cuda']
    ATTENTION.choose = lambda arguments: 'reference' if is_plain() else 'cuda'
    for order, tests in TESTS.items():
        os.environ['MMVIT_EMULATED_ORDER'] = order  # read by block.h
        if code := pytest.main(['-q', '-x', '-W', 'ignore', '-p', 'no:cacheprovider', '-k', f'cpp and ({tests})',
                                str(HERE.parent / 'test_varied_size_window.py')]):
            sys.exit(code)
