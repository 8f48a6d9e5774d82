"""ExecuTorch's programs equal PyTorch, and Core ML Tools converts; ``make test-exports`` has their environment."""
import pytest
import torch
from exporters import convert_to_core_ml, run_in_executorch
from helpers import each_network, fresh_model

pytest.importorskip('executorch')

pytestmark = [pytest.mark.compiler, pytest.mark.filterwarnings('ignore')]  # warnings of ExecuTorch


@pytest.mark.parametrize('size', [(224, 224), (75, 101)])  # windows that fill the maps, and windows that don't
@each_network
def test_executorch(network, size, tmp_path):
    model, images = fresh_model(network).eval().requires_grad_(False), torch.rand(1, 3, *size)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # parameters that are initially zero would hide errors
    options = dict(per_op_mode=True) if network == 'RegionViT' else {}  # two maps share a convolution (docs/export.md)
    found = run_in_executorch(model, images, tmp_path / 'model.pte', **options)
    deviations = torch.stack([(actual - expected).abs().max() / expected.abs().max()
                              for actual, expected in zip(found, model(images), strict=True)])
    print(network, 'ExecuTorch', f'{size}: {deviations.max():.0e}', sep=' | ')
    # ResT's instance norm amplifies rounding errors if attention is nearly uniform.
    assert deviations.max() <= (1e-4 if network == 'ResT' else 1e-5), deviations


@each_network
def test_core_ml_tools(network, tmp_path):
    """Files run on Apple's devices only."""
    pytest.importorskip('coremltools')
    convert_to_core_ml(fresh_model(network).eval().requires_grad_(False), torch.rand(1, 3, 64, 64), tmp_path)
