"""Models of users that contain a backbone are right in the exporters of PyTorch, without this package's ``export``."""
import os
from collections.abc import Callable

import pytest
import torch
from helpers import fresh_model
from network_files import difference
from tiny_configs import TINY_CONFIGS
from torch import Tensor, nn

pytest.importorskip('onnx')

from mmvit.inference.runtimes import installed_runtimes, open_session
from mmvit_backbones.utils import versions

# No single token comes first, after which OpenVINO's own attention would stay wrong (docs/export.md).
# In the first example, the last map has a single window along its height; in the second, all maps have several windows.
EXAMPLES = [(224, 256), (474, 698)]
SIZES = [(224, 256), (160, 352), (101, 77), (2, 3), (64, 64), (33, 50), (130, 40), (28, 200), (480, 640)]
LARGE = [(480, 640), (225, 600), (699, 333)]  # images whose maps all have several windows
FREE = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}, )


def small(network: str, depths: list[int], **changes) -> dict:
    arch = {**TINY_CONFIGS[network]['arch'], 'depths': depths, 'num_heads': [1, 2, 4, 8][:len(depths)], **changes}
    return dict(arch=arch, out_indices=tuple(range(len(depths))))


# One network per kind of size arithmetic, with few blocks, because exports take long. ``make test-exports`` tests all.
KINDS = {'ReMViTv2': small('ReMViTv2', [1, 1]), 'ReSwin': small('ReSwin', [2, 1]), 'SwinVSA': small('SwinVSA', [1])}
# With a single head, RegionViT's program would take only batches like the example's; no published RegionViT has one.
ALL = {**{name: {} for name in sorted(TINY_CONFIGS)}, 'RegionViT': small('RegionViT', 4 * [1], num_heads=[2, 2, 4, 8])}
CHOSEN = ALL if os.environ.get('EXPORT_ALL') else KINDS


class OwnModel(nn.Module):
    """A model of a user."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.relu() for x in self.backbone(images))


def own_model(network: str) -> nn.Module:
    model = OwnModel(fresh_model(network, **CHOSEN[network])).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # parameters that are initially zero would hide errors
    return model


def largest_difference(model: nn.Module, run: Callable[[Tensor], list[Tensor]], sizes: list[tuple[int, int]]) -> dict:
    """Returns the largest difference of the maps, relative to their largest element, for images of each size."""
    found = {}
    for number, size in enumerate(sizes):
        images = torch.rand(1 + number % 2, 3, *size)
        found[size] = max(difference(*maps) for maps in zip(run(images), model(images), strict=True))
    return found


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
@pytest.mark.parametrize('example', EXAMPLES)
@pytest.mark.parametrize('network', CHOSEN)
def test_plain_onnx_export(network, example, tmp_path):
    """One file of ``torch.onnx.export`` is right for all sizes in each runtime."""
    model, path = own_model(network), tmp_path / 'model.onnx'
    names = [f'map{stage}' for stage in model.backbone.out_indices]
    torch.onnx.export(model, (torch.rand(2, 3, *example), ), path, dynamo=True, verbose=False, input_names=['images'],
                      output_names=names, dynamic_shapes=FREE)
    for runtime in installed_runtimes():
        session = open_session(path, runtime)

        def run(images: Tensor) -> list[Tensor]:
            maps = session(dict(images=images.numpy()))
            return [torch.from_numpy(maps[name]) for name in names]

        found = largest_difference(model, run, SIZES)
        print(network, runtime, example, *(f'{size}: {value:.0e}' for size, value in found.items()), sep=' | ')
        assert max(found.values()) < (1e-3 if network == 'ResT' else 1e-4), (runtime, found)


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
@pytest.mark.skipif(versions.is_older('2.7'), reason='torch.export contains operators of this package')
@pytest.mark.parametrize('network', CHOSEN)
def test_torch_export(network):
    """A program is right for all sizes whose maps have several windows, and contains only PyTorch's operators."""
    model = own_model(network)
    program = torch.export.export(model, (torch.rand(2, 3, *EXAMPLES[1]), ), dynamic_shapes=FREE)
    assert 'mmvit' not in str(program.graph)
    found = largest_difference(model, program.module(), LARGE)
    print(network, 'torch.export', *(f'{size}: {value:.0e}' for size, value in found.items()), sep=' | ')
    assert max(found.values()) < (1e-3 if network == 'ResT' else 1e-4), found
