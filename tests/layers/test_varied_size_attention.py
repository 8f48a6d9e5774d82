"""The layer of varied-size window attention; ``tests/ops`` contains the tests of the operator."""
import pytest
import torch
from golden import fill_state_dict
from helpers import raises
from varied_size_windows import deviations, golden_cases, golden_inputs

from mmvit_backbones.layers import VariedSizeWindowAttention


def convert_attention(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Converts the authors' weights; their 1 x 1 convolutions are linear layers in this package."""
    renamed = {}
    for key, x in weights.items():
        key = key.replace('sampling_offsets.2', 'sampling_offsets').replace('sampling_scales.2', 'sampling_scales')
        key = key.replace('relative_position_bias_table', 'position_bias.relative_position_bias_table')
        renamed[key] = x.flatten(1) if x.ndim == 4 else x
    return renamed


@pytest.mark.parametrize('case, rtol', [
    pytest.param(case, rtol, id=case['name']) for case, rtol in golden_cases('vsa_attention_module')])
def test_outputs_and_gradients_match_the_authors(case, rtol):
    """The cases cover both values of ``window_padding`` and ``offset_divisor``."""
    layer = VariedSizeWindowAttention(case['dim'], case['out_dim'], case['heads'], case['window_size'],
                                      case['window_padding'], case['offset_divisor']).double()
    weights = {key: x * case['param_gain'].get(key, 1) for key, x in fill_state_dict(case['state_dict']).items()}
    layer.load_state_dict(convert_attention(weights))
    inputs = golden_inputs(case)
    out = layer(inputs['x'].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    (out * inputs['grad_output']).sum().backward()
    gradients = {name: p.grad for name, p in layer.named_parameters()}
    names = dict(zip(weights, convert_attention(weights)))
    actual = {'out': out, 'grad_x': inputs['x'].grad,
              **{f'grad:{key}': gradients[name].view(weights[key].shape) for key, name in names.items()}}
    worst = deviations(case, actual)
    assert max(worst.values()) <= rtol, worst


def test_windows_are_predicted_in_float32_under_autocast():
    layer = VariedSizeWindowAttention(16, 16, 2)
    x = torch.randn(1, 14, 14, 16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        scale, offset, _ = layer.predict_windows(x, torch.float32)
        out = layer(x)
    assert layer.position_bias().shape == (13**2, 2) and scale.shape == (1, 2, 2, 2, 2)
    assert scale.dtype == offset.dtype == torch.float32 and out.dtype == torch.bfloat16
    out.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize('change, words', [
    (dict(num_heads=3), ('16', 'num_heads', '3')), (dict(in_channels=1), ('in_channels', '1', 'num_heads', '2')),
    (dict(window_padding='left'), ('window_padding', 'left', 'center')),
    (dict(offset_divisor='x'), ('offset_divisor', 'x', 'other_axis'))], ids=str)
def test_wrong_arguments_are_named(change, words):
    with raises(ValueError, *words):
        VariedSizeWindowAttention(**{**dict(in_channels=16, channels=16, num_heads=2), **change})
