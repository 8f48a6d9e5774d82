"""ExecuTorch's programs equal PyTorch, and Core ML Tools converts; ``make test-exports`` has their environment."""
from pathlib import Path

import pytest
import torch
from helpers import each_network, fresh_model
from torch import Tensor, nn

pytest.importorskip('executorch')

from mmvit_backbones.ops.normalized_attention import normalized_attention

pytestmark = [pytest.mark.compiler, pytest.mark.filterwarnings('ignore')]  # warnings of ExecuTorch


def run_in_executorch(model: nn.Module, inputs: tuple[Tensor, ...], path: Path, **options) -> list[Tensor]:
    """Lowers a model with XNNPACK, and runs it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime
    partitioner = XnnpackPartitioner(**options)
    lowered = to_edge_transform_and_lower(torch.export.export(model, inputs), partitioner=[partitioner])
    path.write_bytes(lowered.to_executorch().buffer)
    method = Runtime.get().load_program(path).load_method('forward')
    assert method is not None
    return [x.clone() for x in method.execute(inputs)]


class MixedHeads(nn.Module):
    """A convolution before normalized attention, as in ResT."""

    def __init__(self) -> None:
        super().__init__()
        self.mix_heads = nn.Conv2d(2, 2, 1)

    def forward(self, logits: Tensor, value: Tensor) -> Tensor:
        return normalized_attention(self.mix_heads(logits), value)


def test_attention_after_a_convolution(tmp_path):
    """XNNPACK would normalize over the heads, silently, if the softmax had four dimensions."""
    torch.manual_seed(0)
    model, inputs = MixedHeads().eval(), (torch.randn(1, 2, 12, 9), torch.randn(1, 2, 9, 4))
    found, = run_in_executorch(model, inputs, tmp_path / 'model.pte')
    torch.testing.assert_close(found, model(*inputs).detach())


@pytest.mark.parametrize('size', [(224, 224), (75, 101)])  # windows that fill the maps, and windows that don't
@each_network
def test_executorch(network, size, tmp_path):
    model, images = fresh_model(network).eval().requires_grad_(False), torch.rand(1, 3, *size)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # parameters that are initially zero would hide errors
    options = dict(per_op_mode=True) if network == 'RegionViT' else {}  # two maps share a convolution (docs/export.md)
    found = run_in_executorch(model, (images, ), tmp_path / 'model.pte', **options)
    deviations = torch.stack([(actual - expected).abs().max() / expected.abs().max()
                              for actual, expected in zip(found, model(images), strict=True)])
    print(network, 'ExecuTorch', f'{size}: {deviations.max():.0e}', sep=' | ')
    # ResT's instance norm amplifies rounding errors if attention is nearly uniform.
    assert deviations.max() <= (1e-4 if network == 'ResT' else 1e-5), deviations


@each_network
def test_core_ml_tools(network):
    """Files run on Apple's devices only."""
    coremltools = pytest.importorskip('coremltools')
    model, images = fresh_model(network).eval().requires_grad_(False), torch.rand(1, 3, 64, 64)
    program = torch.export.export(model, (images, )).run_decompositions({})
    coremltools.convert(program, minimum_deployment_target=coremltools.target.iOS17, skip_model_load=True)
