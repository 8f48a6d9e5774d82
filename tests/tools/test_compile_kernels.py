"""Triton compiles every kernel for GPUs, without having them."""
import os
import subprocess
import sys

import pytest
from helpers import ROOT

pytest.importorskip('triton')


@pytest.mark.compiler
def test_every_kernel_compiles_without_spills():
    """In its own process: here, Triton interprets. The tool fails where registers are spilled."""
    environment = {**os.environ, 'TRITON_INTERPRET': '0', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, ROOT / 'tools/dev/compile_kernels.py', '--quick']
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    kernels = {line.split('`')[1] for line in done.stdout.splitlines() if '`' in line}
    assert {name.split('.')[0] for name in kernels} == {'normalized_attention', 'residual_attention',
                                                        'varied_size_window', 'window_sampling'}
