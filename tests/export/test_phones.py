"""ExecuTorch's and LiteRT's files equal PyTorch, and Core ML Tools converts; ``make test-exports`` has them."""
from pathlib import Path

import pytest
import torch
from helpers import each_network, fresh_model
from torch import Tensor, nn

pytest.importorskip('executorch')

pytestmark = [pytest.mark.compiler, pytest.mark.filterwarnings('ignore')]  # warnings of ExecuTorch


def run_in_executorch(model: nn.Module, x: Tensor, path: Path, **options) -> list[Tensor]:
    """Lowers a model with XNNPACK, and runs it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime
    partitioner = XnnpackPartitioner(**options)
    lowered = to_edge_transform_and_lower(torch.export.export(model, (x, )), partitioner=[partitioner])
    path.write_bytes(lowered.to_executorch().buffer)
    method = Runtime.get().load_program(path).load_method('forward')
    assert method is not None
    return [result.clone() for result in method.execute((x, ))]


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
def test_litert(network, request):
    litert_torch = pytest.importorskip('litert_torch')
    if network in ('ReMViTv2', 'SwinVSA', 'ViTAEv2VSA'):  # the first is wrong without an error (docs/export.md)
        request.applymarker(pytest.mark.xfail(strict=True))
    model, images = network_and_images(network, (64, 64))
    maps = litert_torch.convert(model, (images, ))(images.numpy())
    found = [torch.from_numpy(part) for part in (maps if isinstance(maps, (list, tuple)) else [maps])]
    check(network, 'LiteRT', found, model(images))


@each_network
def test_core_ml_tools(network):
    """Files run on Apple's devices only."""
    coremltools = pytest.importorskip('coremltools')
    model, images = network_and_images(network, (64, 64))
    program = torch.export.export(model, (images, )).run_decompositions({})
    coremltools.convert(program, minimum_deployment_target=coremltools.target.iOS17, skip_model_load=True)
