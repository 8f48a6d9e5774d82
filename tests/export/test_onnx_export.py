"""ONNX files of networks support all image sizes and return the network's results."""
import os

import pytest
import torch
import torch.nn.functional as F
from helpers import fresh_model, raises
from network_files import compare_onnx
from tiny_configs import TINY_CONFIGS
from torch import Tensor, nn

pytest.importorskip('onnx')

import onnx

from mmvit.inference.runtimes import installed_runtimes, open_session
from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.export import export_onnx
from mmvit_backbones.export.graphs import save, to_onnx

# Sizes with and without padding, smaller and larger than a window, in portrait and landscape format. A small size comes
# first, because OpenVINO may keep what it has prepared for a single token.
SIZES = [(2, 3), (64, 64), (96, 64), (33, 50), (224, 224), (75, 101), (130, 40), (28, 200)]

# Networks with shifted, no and varied-size windows. They have few blocks, because exports with dynamic sizes take long.
# ``make test-exports`` tests all networks.
SHIFTED = dict(embed_dims=8, depths=[2, 1], num_heads=[1, 2], window_size=7, mlp_ratio=1)
ONE_STAGE = dict(embed_dims=8, depths=[1], num_heads=[1], window_size=7, mlp_ratio=1)
ONE_BLOCK = dict(TINY_CONFIGS['ViTAE-plain']['arch'], depth=1)
KINDS = {'ReSwin': dict(arch=SHIFTED, out_indices=(0, 1)), 'ViTAE-plain': dict(arch=ONE_BLOCK),
         'SwinVSA': dict(arch=ONE_STAGE, out_indices=(0, ))}
CHOSEN = {name: {} for name in sorted(TINY_CONFIGS)} if os.environ.get('EXPORT_ALL') else KINDS


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
@pytest.mark.parametrize('network', CHOSEN)
def test_one_file_supports_all_sizes(network, tmp_path):
    model, path = fresh_model(network, **CHOSEN[network]), tmp_path / 'network.onnx'
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))  # parameters that are initially zero would hide errors
    export_onnx(model, path)
    # ResT's instance norm amplifies rounding errors if attention is nearly uniform.
    tolerance = 1e-3 if network == 'ResT' else 1e-4
    for runtime in installed_runtimes():
        found = compare_onnx(model, path, SIZES, runtime)
        assert found < tolerance, (runtime, found)
    nodes = onnx.load(path).graph.node
    assert {node.domain for node in nodes} == {''}, 'operators that are not standard ONNX'
    assert 'GridSample' not in {node.op_type for node in nodes}, 'TensorRT computes some files with it wrongly'


class OneConvolution(nn.Conv2d):
    """A minimal backbone, with a batch norm."""

    out_indices = (0, )

    def __init__(self, *arguments: int) -> None:
        super().__init__(*arguments)
        self.norm = nn.BatchNorm2d(self.out_channels)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return self.norm(super().forward(images)),


class NormsAndGelus(nn.Module):
    """LayerNorms over one and two axes, with and without weights, and both forms of GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        norms = F.layer_norm(x, (8, ), bias=self.norm.bias), F.layer_norm(x, x.shape[2:])
        return self.norm(x), self.norm(x[:, 0]), *norms, F.gelu(x), F.gelu(x, approximate='tanh')


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_norms_and_gelus_equal_those_of_pytorch(dtype, tmp_path):
    torch.manual_seed(0)
    model, x, path = NormsAndGelus().to(dtype), torch.randn(2, 3, 4, 8, dtype=dtype), tmp_path / 'network.onnx'
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.bias)
    free = {axis: torch.export.Dim.DYNAMIC for axis in range(3)}
    save(to_onnx(model, (x, ), (free, ), ['images'], [f'map{number}' for number in range(6)]), path)
    x = torch.randn(1, 2, 5, 8, dtype=dtype)  # ONNX Runtime fuses GELU
    found = open_session(path)(dict(images=x.numpy()))
    for actual, expected in zip(found.values(), model(x), strict=True):
        torch.testing.assert_close(torch.from_numpy(actual), expected)


class TransposedSums(nn.Module):
    """Sums of maps that were transposed, also as outputs, and maps that are transposed back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = images.relu().permute(0, 2, 3, 1)
        total = x + self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        twice = total + self.linear(total) + self.conv(images).permute(0, 2, 1, 3)
        return total, self.linear(total), twice, x.permute(0, 3, 1, 2)


def test_sums_of_transposed_maps_equal_those_of_pytorch(tmp_path):
    torch.manual_seed(0)
    model, images, path = TransposedSums(), torch.randn(2, 4, 4, 4), tmp_path / 'sums.onnx'
    save(to_onnx(model, (images, ), ({0: torch.export.Dim.DYNAMIC}, ), ['images'], list('abcd')), path)
    for runtime in installed_runtimes():
        found = open_session(path, runtime)(dict(images=images.numpy()))
        for name, expected in zip('abcd', model(images)):
            torch.testing.assert_close(torch.from_numpy(found[name]), expected.detach())


@pytest.mark.slow
def test_an_export_keeps_the_statistics_of_batch_norms(tmp_path):
    """A network of ``get_model`` is in training mode, where each forward pass changes the statistics."""
    model = OneConvolution(3, 4, 3).train()
    export_onnx(model, tmp_path / 'network.onnx')
    assert model.norm.num_batches_tracked == 0 and not model.norm.running_mean.any()


@pytest.mark.slow
@pytest.mark.parametrize('opset, ir_version', [(18, 8), (20, 9)])
def test_a_file_has_the_version_that_came_with_its_opset(opset, ir_version, tmp_path):
    export_onnx(OneConvolution(3, 4, 3), tmp_path / 'network.onnx', opset, size=8)
    assert onnx.load(tmp_path / 'network.onnx').ir_version == ir_version


@pytest.mark.slow
@pytest.mark.parametrize('opset', [17, 100])
def test_unsupported_opsets_are_refused(opset, tmp_path):
    with raises(ValueError, 'opset must be at least 18', opset):
        export_onnx(OneConvolution(3, 4, 3), tmp_path / 'network.onnx', opset)
    assert not list(tmp_path.iterdir())


def test_models_in_half_precision_are_refused(tmp_path):
    with raises(ValueError, 'float32', 'float16'):
        export_onnx(fresh_model('ResTv2').half(), tmp_path / 'network.onnx')


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
def test_a_classifier_returns_logits(tmp_path):
    export_onnx(get_model('rest_lite'), tmp_path / 'rest_lite.onnx')
    output, = onnx.load(tmp_path / 'rest_lite.onnx').graph.output
    assert output.name == 'logits' and output.type.tensor_type.shape.dim[1].dim_value == 1000


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
def test_a_file_for_one_size_is_simpler(tmp_path):
    model, files = fresh_model('ReSwin', arch=SHIFTED, out_indices=(0, 1)), {}
    for size in (None, (40, 60)):
        files[size] = tmp_path / f'{size}.onnx'
        export_onnx(model, files[size], size=size)
    assert compare_onnx(model, files[40, 60], [(40, 60)] * 2) < 1e-4
    dynamic, fixed = (onnx.load(path).graph for path in files.values())
    assert len(fixed.node) < len(dynamic.node)
    batch, _, height, width = fixed.input[0].type.tensor_type.shape.dim
    assert (batch.dim_param, height.dim_value, width.dim_value) == ('batch', 40, 60)


@pytest.mark.parametrize(('arguments', 'message'), [
    (['configs/imagenet_rest_lite.py', 'out.onnx'], 'pass it as --config configs/imagenet_rest_lite.py'),
    (['imagenet_rest_lite', 'out.onnx'], 'pass it as --config imagenet_rest_lite'),
    (['missing.pth', 'out.onnx'], 'checkpoint missing.pth does not exist'),
    (['run'], '.onnx, got run'),
    (['out.onnx'], 'pass the work dir of a training or a checkpoint'),
    (['out.onnx', '--config', 'imagenet_rest_lite'], 'pass either checkpoint or pretrained'),
])
def test_errors_are_one_line(run, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run('export', *arguments)
    error, = capsys.readouterr().err.splitlines()
    assert message in error and not list(tmp_path.iterdir())


def test_a_network_with_nan_in_its_weights_is_not_exported(tmp_path):
    model = fresh_model('ViTAE-plain')
    name, weight = list(model.named_parameters())[-1]
    weight.data.flatten()[0] = torch.nan
    with raises(UsageError, name, 'NaN'):
        export_onnx(model, tmp_path / 'network.onnx')
    assert not list(tmp_path.iterdir())
