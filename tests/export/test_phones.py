"""ExecuTorch's and LiteRT's files equal PyTorch, and Core ML Tools converts; ``make test-exports`` has them."""
import pytest
import torch
from exporters import convert_to_core_ml, run_in_executorch, run_in_litert
from helpers import each_network, fresh_model
from torch import Tensor, nn

pytest.importorskip('executorch')

pytestmark = [pytest.mark.compiler, pytest.mark.filterwarnings('ignore')]  # warnings of ExecuTorch


def network_and_images(network: str, size: tuple[int, int]) -> tuple[nn.Module, Tensor]:
    model, images = fresh_model(network).eval().requires_grad_(False), torch.rand(1, 3, *size)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # parameters that are initially zero would hide errors
    return model, images


def check(network: str, exporter: str, found: list[Tensor], expected: tuple[Tensor, ...]) -> None:
    deviation = max((a - b).abs().max() / b.abs().max() for a, b in zip(found, expected, strict=True))
    print(network, exporter, f'{deviation:.0e}', sep=' | ')
    # ResT's instance norm amplifies rounding errors if attention is nearly uniform.
    assert deviation <= (1e-4 if network == 'ResT' else 1e-5)


@pytest.mark.parametrize('size', [(224, 224), (75, 101)])  # windows that fill the maps, and windows that don't
@each_network
def test_executorch(network, size, tmp_path):
    model, images = network_and_images(network, size)
    options = dict(per_op_mode=True) if network == 'RegionViT' else {}  # two maps share a convolution (docs/export.md)
    found = run_in_executorch(model, images, tmp_path / 'model.pte', **options)
    check(network, f'ExecuTorch {size}', found, model(images))


@each_network
def test_litert(network, tmp_path, request):
    pytest.importorskip('litert_torch')
    if network in ('ReMViTv2', 'SwinVSA', 'ViTAEv2VSA'):  # the first is wrong without an error (docs/export.md)
        request.applymarker(pytest.mark.xfail(strict=True))
    model, images = network_and_images(network, (64, 64))
    check(network, 'LiteRT', run_in_litert(model, images, tmp_path), model(images))


@each_network
def test_core_ml_tools(network, tmp_path):
    """Files run on Apple's devices only."""
    pytest.importorskip('coremltools')
    convert_to_core_ml(fresh_model(network).eval().requires_grad_(False), torch.rand(1, 3, 64, 64), tmp_path)
