"""Tests that the operators can be used without MMEngine and without the self-check."""
import os
import subprocess
import sys

import pytest

CODE = """
import sys

class NoMMEngine:
    def find_spec(self, name, *args):
        if name.split('.')[0] == 'mmengine':
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, NoMMEngine())
import torch
from mmvit_backbones.ops import dispatch, varied_size_window_sample
zeros = torch.zeros(1, 2, 2, 2, 3)
print(varied_size_window_sample(torch.rand(1, 2, 8, 14, 21), zeros, zeros, window_size=7).shape, dispatch.SELF_CHECK)
"""


@pytest.mark.slow
def test_operators_do_not_need_mmengine():
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', CODE], capture_output=True, text=True,
                          env={**os.environ, 'MMVIT_OPS_SELF_CHECK': '0'})
    assert done.stdout.strip() == 'torch.Size([1, 2, 8, 14, 21]) False', done.stderr
