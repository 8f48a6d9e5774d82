"""Networks lowered by ExecuTorch equal PyTorch in its runtime, and Core ML Tools converts them.

``make test-exports`` runs these tests in an environment with both packages.
"""
import pytest
import torch
from helpers import fresh_model
from tiny_configs import TINY_CONFIGS
from torch import Tensor, nn

pytest.importorskip('executorch')

from mmvit_backbones.export.differences import difference
from mmvit_backbones.ops.normalized_attention import normalized_attention

# The family of each network, with one or two blocks, because lowering takes long.
SHALLOW = {'ReSwin': [2, 1], 'ResT': [1, 1], 'ResTv2': [1, 1]}


def shallow_model(network: str) -> nn.Module:
    arch = dict(TINY_CONFIGS[network]['arch'])
    if 'depth' in arch:
        arch['depth'] = 2
    model = fresh_model(network, arch=arch).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # parameters that are initially zero would hide errors
    return model


def run_in_executorch(model: nn.Module, inputs: tuple[Tensor, ...], folder) -> list[Tensor]:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime
    lowered = to_edge_transform_and_lower(torch.export.export(model, inputs), partitioner=[XnnpackPartitioner()])
    path = folder / 'model.pte'
    path.write_bytes(lowered.to_executorch().buffer)
    method = Runtime.get().load_program(path).load_method('forward')
    assert method is not None
    return [x.clone() for x in method.execute(inputs)]
