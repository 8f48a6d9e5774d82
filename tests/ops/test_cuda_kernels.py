"""Tests the CUDA sources without a GPU: compilation, register spills, loading, and emulated kernels."""
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from helpers import ROOT
from runs import CONTEXT, load_cuda_kernels

from mmvit_backbones.ops import build, library

SHARED_LIMIT = 48 * 1024  # bytes of static shared memory per kernel


def nvcc() -> str | None:
    try:
        return build.find_nvcc()
    except build.BuildError:
        return None


needs_nvcc = pytest.mark.skipif(nvcc() is None, reason='no nvcc for this torch')


def test_nvcc_of_wheels_is_used_only_if_all_wheels_are_installed(tmp_path, monkeypatch):
    """Some packages install only some of the wheels, and nvcc can't compile without the others."""
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    root = tmp_path / 'nvidia/cu99'
    for file in ('bin/nvcc', 'nvvm/bin/cicc', 'include/crt/host_config.h', 'include/cccl/cub/cub.cuh',
                 'include/cuda_runtime.h'):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    assert build.nvcc_of_wheels('99') == root / 'bin/nvcc'
    assert build.nvcc_of_wheels('98') is None
    (root / 'nvvm/bin/cicc').unlink()
    assert build.nvcc_of_wheels('99') is None


@needs_nvcc
@pytest.mark.compiler
def test_cuda_library_loads_and_has_no_register_spills(tmp_path, monkeypatch):
    """Compiles for one architecture only, to save time. The library must not require a GPU or Python to load."""
    path = tmp_path / 'mmvit_cuda.so'
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0+PTX')
    monkeypatch.setattr(build, 'CUDA_FLAGS', [*build.CUDA_FLAGS, '-Xptxas', '-v'])
    messages = build.build_cuda(path)
    check_resources('80', messages)
    process = CONTEXT.Process(target=load_cuda_kernels, args=(str(path), ))
    process.start()
    process.join(100)
    assert process.exitcode == 0
    symbols = subprocess.run(['nm', '-D', '--undefined-only', path], capture_output=True, text=True).stdout
    assert not re.search(r' Py[A-Z_]\w+', symbols)


@needs_nvcc
@pytest.mark.compiler
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_that_the_library_is_not_compiled_for(tmp_path, monkeypatch):
    other = '7.5' if torch.cuda.get_device_capability()[0] > 7 else '9.0'
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', other)
    path = tmp_path / 'mmvit_cuda.so'
    build.build_cuda(path)
    monkeypatch.setitem(library.LOADED, 'cuda', path)
    library._error_on_gpu.cache_clear()
    reason = library.error_on_gpu(0)
    library._error_on_gpu.cache_clear()
    assert other in reason and torch.cuda.get_device_name(0) in reason
    assert torch.ones(2, device='cuda').sum() == 2  # torch does not find the error


def check_resources(architecture: str, messages: str) -> None:
    """Prints and checks the resources that the assembler reports for each kernel."""
    kernels = re.findall(rf"Compiling entry function '(\w+)' for 'sm_{architecture}'.*?(\d+) bytes spill stores, "
                         r'(\d+) bytes spill loads.*?Used (\d+) registers(.*?)\n', messages, flags=re.DOTALL)
    assert kernels
    for name, stores, loads, registers, rest in kernels:
        print(f'sm_{architecture} {name}: {registers} registers{rest}')
        assert (int(stores), int(loads)) == (0, 0), name
        shared = re.search(r'(\d+) bytes smem', rest)
        assert int(registers) <= 128 and (shared is None or int(shared.group(1)) <= SHARED_LIMIT), name


@needs_nvcc
@pytest.mark.compiler
@pytest.mark.skipif(library.MISSING['cpp'] is not None, reason='the C++ backend is not built')
def test_emulated_kernels_are_right(tmp_path):
    """Tests goldens, dtypes, windows at far and non-finite positions, and the error for deterministic algorithms.

    Some tests also run the threads of a block in reverse order, so that a missing barrier changes the results.
    """
    command = [sys.executable, '-W', 'ignore', ROOT / 'tests/ops/emulated/run_tests.py', tmp_path]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.stdout.count(' passed') == 2


@pytest.mark.skipif(library.MISSING['cpp'] is not None, reason='the C++ backend is not built')
def test_cpp_library_does_not_use_python():
    path = library.LOADED['cpp']
    symbols = subprocess.run([shutil.which('nm') or 'nm', '-D', '--undefined-only', path], capture_output=True,
                             text=True).stdout
    assert symbols and not re.search(r' Py[A-Z_]\w+', symbols)
