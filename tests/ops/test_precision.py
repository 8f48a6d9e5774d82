"""Dtypes of computations in half precision."""
import torch

from mmvit_backbones.ops.precision import at_least_float32, without_autocast


def test_at_least_float32():
    dtypes = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    assert [at_least_float32(torch.empty(0, dtype=dtype)) for dtype in dtypes] == [torch.float32] * 3 + [torch.float64]
    with without_autocast('meta'):
        assert (torch.empty(2, 2, device='meta') @ torch.empty(2, 2, device='meta')).dtype == torch.float32
