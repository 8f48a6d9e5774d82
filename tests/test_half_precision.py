"""Deviation of logits from float64 under the rules of CUDA's autocast, beside that of the authors' code."""
import pytest
import torch
import torch.nn.functional as F
from golden import fill_state_dict, make_input
from golden_files import NETWORKS
from helpers import relative_error, without_dropout
from torch import Tensor
from torch.overrides import TorchFunctionMode

import mmvit_backbones
from mmvit_backbones.utils import versions

HALF = torch.bfloat16, torch.float16
# Emulated: deviations of the authors' code in bfloat16 and float16, with the same weights, images and rules.
AUTHORS = dict(
    rest_lite=(0.03496, 0.004375),
    rest_small=(0.052114, 0.006987),
    restv2_tiny=(0.004708, 0.000565),
    revit_base=(0.003602, 0.000495),
    remvitv2_tiny=(0.005096, 0.000695),
    reswin_tiny=(0.004353, 0.000584),
    regionvit_tiny=(0.005789, 0.000723),
    refiner_vit_small_plain=(0.037447, 0.004566),
    vitae_tiny=(0.003985, 0.000509),
    vitaev2_small=(0.004743, 0.000645),
)
SLOW = {'revit_base', 'refiner_vit_small_plain', 'vitaev2_small', 'restv2_tiny'}  # on CPUs without float16
FLATTENING = 0.4  # of the goldens' matrices and kernels, so that attention is as flat as in a network at its start
IN_FLOAT32 = {torch.layer_norm, F.layer_norm, torch.group_norm, F.group_norm, torch.norm, Tensor.norm, F.normalize,
              torch.exp, Tensor.exp, Tensor.exp_, torch.expm1, torch.log, Tensor.log, torch.pow, Tensor.pow,
              Tensor.__pow__, torch.rsqrt, Tensor.rsqrt, torch.cumsum, Tensor.cumsum, F.softplus}
IN_FLOAT32_UNLESS_GIVEN = {torch.softmax, Tensor.softmax, F.softmax, torch.log_softmax, Tensor.log_softmax,
                           F.log_softmax, torch.sum, Tensor.sum, torch.prod}


class CudaAutocast(TorchFunctionMode):
    """Adds to the autocast of CPUs what that of CUDA computes in float32; a dtype that the program gives is respected.

    The rules are those of https://docs.pytorch.org/docs/stable/amp.html#cuda-op-specific-behavior.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        is_given = kwargs.get('dtype') is not None or any(isinstance(x, torch.dtype) for x in args)
        if function in IN_FLOAT32 or function in IN_FLOAT32_UNLESS_GIVEN and not is_given:
            args = [in_float32(x) for x in args]
            kwargs = {name: in_float32(x) for name, x in kwargs.items()}
        return function(*args, **kwargs)


def in_float32(x: object) -> object:
    return x.to(torch.float32) if isinstance(x, Tensor) and x.dtype in HALF else x


@pytest.mark.slow
@pytest.mark.skipif(versions.is_older('2.4'), reason='float16 on CPUs requires PyTorch 2.4')
@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.large] if name in SLOW else []) for name in AUTHORS])
@torch.no_grad()
def test_half_precision_is_as_accurate_as_in_the_authors_code(name):
    golden = next(golden for golden in NETWORKS.values() if golden['variant'] == name and not golden.get('overrides'))
    weights = fill_state_dict({key: tuple(shape) for key, shape in golden['state_dict'].items()})
    weights = {key: FLATTENING * x if x.ndim > 1 else x for key, x in weights.items()}
    model = without_dropout(mmvit_backbones.get_model(name, drop_path_rate=0.)).double().train()
    model.load_state_dict(mmvit_backbones.convert_state_dict(name, weights), strict=True)
    images = make_input((1, 3, 224, 224), 3)
    expected = model(images.double())
    for dtype, authors in zip(HALF, AUTHORS[name]):
        model.to(torch.float32)
        with CudaAutocast(), torch.autocast('cpu', dtype):
            actual = model(images.to(torch.float32))
        assert relative_error(actual, expected) <= 1.25 * authors, dtype
