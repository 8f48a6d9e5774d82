"""Varied-size window attention: the authors' numbers, and that all forms of the operators agree."""
import json
from pathlib import Path

import pytest
import torch
from golden import digest, fill_state_dict, make_input, mismatch

from mmvit_backbones.layers import VariedSizeWindowAttention
from mmvit_backbones.ops import library, varied_size_window_attention, varied_size_window_sample

GOLDENS = Path(__file__).parent / 'goldens' / 'vsa'
DEVICES = {'reference': 'cpu', 'cpp': 'cpu', 'cuda': 'cuda'}
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def why_missing(backend: str) -> str | None:
    reason = library.MISSING.get(backend)
    if backend == 'cuda' and reason is None and not torch.cuda.is_available():
        return 'no GPU'
    return reason


def backends(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize('backend', [
        pytest.param(name, marks=pytest.mark.skipif(why_missing(name) is not None, reason=f'{why_missing(name)}'))
        for name in names
    ])


every_form = backends('reference', 'cpp', 'cuda')
every_compiled_form = backends('cpp', 'cuda')


# ---- the authors' numbers


def golden_cases(operator: str) -> list:
    golden = json.loads((GOLDENS / f'golden_op_vsa_{operator}.json').read_text())
    return [pytest.param(case, golden['rtol'], id=case['name']) for case in golden['cases']]


def golden_inputs(case: dict) -> dict[str, torch.Tensor]:
    return {
        name: (spec['shift'] + spec['gain'] * make_input(spec['shape'], spec['seed'])).requires_grad_()
        for name, spec in case['inputs'].items()
    }


def deviations(case: dict, actual: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: mismatch(digest(actual[name]), expected) for name, expected in case['outputs'].items()}


@every_form
@pytest.mark.parametrize('case, rtol', golden_cases('sampling'))
def test_golden_sampling(case, rtol, backend):
    inputs = golden_inputs(case)
    features, scale, offset, grad = (inputs[k][None].to(DEVICES[backend])
                                     for k in ('features', 'scale', 'offset', 'grad_output'))
    out = varied_size_window_sample(features, scale, offset, case['window_size'], case['pad'], backend)[0]
    (out * grad[0]).sum().backward()
    actual = {'sampled': out, **{f'grad_{name}': x.grad for name, x in inputs.items() if name != 'grad_output'}}
    worst = deviations(case, actual)
    assert max(worst.values()) <= rtol, worst


@every_form
@pytest.mark.parametrize('case, rtol', golden_cases('core'))
def test_golden_core(case, rtol, backend):
    inputs = golden_inputs(case)
    tensors = {name: x.to(DEVICES[backend]) for name, x in inputs.items()}
    maps = [tensors[k].unflatten(0, (case['batch'], case['heads'])) for k in ('q', 'k', 'v', 'scale', 'offset')]
    out = varied_size_window_attention(*maps, tensors['bias_table'], case['window_size'], case['pad'],
                                       case['softmax_scale'], backend).flatten(0, 1)
    (out * tensors['grad_output']).sum().backward()
    actual = {'out': out, **{f'grad_{name}': x.grad for name, x in inputs.items() if name != 'grad_output'}}
    worst = deviations(case, actual)
    assert max(worst.values()) <= rtol, worst


def convert_attention(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The authors' keys to those of the layer; their 1x1 convolutions are linear layers here."""
    renamed = {}
    for key, x in weights.items():
        key = key.replace('sampling_offsets.2', 'sampling_offsets').replace('sampling_scales.2', 'sampling_scales')
        key = key.replace('relative_position_bias_table', 'position_bias.relative_position_bias_table')
        renamed[key] = x.flatten(1) if x.ndim == 4 else x
    return renamed


@backends('reference', 'cpp')
@pytest.mark.parametrize('case, rtol', golden_cases('attention'))
def test_golden_module(case, rtol, backend, monkeypatch):
    monkeypatch.setattr(library, 'MISSING', {**library.MISSING, **({'cpp': 'off'} if backend == 'reference' else {})})
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
