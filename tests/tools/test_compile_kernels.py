"""Triton compiles every kernel for GPUs, although there is no GPU."""
import os
import subprocess
import sys

import pytest
from helpers import ROOT

pytest.importorskip('triton')


@pytest.mark.compiler
def test_every_kernel_compiles_without_spills():
    """Runs in a separate process, because Triton is in interpreter mode here. Spilled registers are an error."""
    environment = {**os.environ, 'TRITON_INTERPRET': '0', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, ROOT / 'tools/dev/compile_kernels.py', '--quick']
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    kernels = {line.split('`')[1] for line in done.stdout.splitlines() if '`' in line}
    assert {name.split('.')[0] for name in kernels} == {'normalized_attention', 'residual_attention',
                                                        'varied_size_window', 'window_sampling'}
