"""Comparison with recorded results of the authors' code (goldens).

Goldens are read from ``tests/goldens`` and from the folder in ``MMVIT_GOLDENS``. Most goldens of networks need no
additional code. Goldens of an operator or a block (``golden_op_*``) need a function in ``operators/``.
"""
import json
from functools import lru_cache

import pytest
import torch
from golden import digest, fill_state_dict, make_input, mismatch
from golden_files import GOLDENS, NETWORKS, SMALL
from mmengine.registry import MODELS
from operators import DETAILS, OPERATORS, TRAINING_PASSES

from mmvit_backbones import convert_state_dict, get_model
from mmvit_backbones.zoo.variants import VARIANTS

# Operators whose goldens are tested in ops/test_varied_size_window.py, layers/test_varied_size_attention.py and
# layers/test_vitae_cell.py.
ELSEWHERE = {'cells', 'vsa_attention_core', 'vsa_attention_module', 'vsa_sampling'}
RUN_HERE = {name: golden for name, golden in GOLDENS.items() if name in NETWORKS or golden.get('model') in OPERATORS}


def cases() -> list:
    """Returns all inputs of all goldens in float64, and the first input also in float32, except for large networks.

    Inputs are ordered by golden, so that :func:`filled` can reuse the weights.
    """
    found = []
    for name, golden in RUN_HERE.items():
        for i, case in enumerate(golden['inputs']):
            shape = 'x'.join(map(str, case.get('shape', [i])))
            has_float32 = i == 0 and not is_large(name)
            for dtype in (torch.float64, torch.float32) if has_float32 else (torch.float64, ):
                is_slow = name in NETWORKS and dtype == torch.float64
                found.append(pytest.param(golden, case, dtype, id=f'{name}-{case["call"]}-{shape}-{dtype}',
                                          marks=[pytest.mark.slow] if is_slow else []))
    return found


def is_large(name: str) -> bool:
    return name in NETWORKS and NETWORKS[name]['variant'] not in SMALL


def task_of(case: dict) -> str:
    if case['call'] not in ('classify', 'train'):
        return 'backbone'
    pytest.importorskip('mmpretrain.models')  # backbones are also tested without mmpretrain
    return 'classification'


def build(golden: dict, case: dict, dtype: torch.dtype):
    """Builds the model for a case of a golden, with the weights of the golden, in evaluation mode."""
    overrides = {**golden.get('overrides', {}), **case.get('overrides', {})}
    if case['call'] == 'train':
        overrides['drop_path_rate'] = 0.
    task = task_of(case)
    model = get_model(golden['variant'], task, **overrides).eval()
    model.to(dtype)  # before loading: float32 parameters would round the weights
    model.load_state_dict(convert_state_dict(golden['variant'], filled(json.dumps(golden['state_dict'])), task))
    return model


@lru_cache(maxsize=1)
def filled(shapes: str) -> dict[str, torch.Tensor]:
    return fill_state_dict(json.loads(shapes))


@torch.no_grad()
def outputs(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    if 'variant' not in golden:
        return OPERATORS[golden['model']](golden, case, dtype)
    model = build(golden, case, dtype)
    images = make_input(case['shape'], case['seed'], dtype)
    if case['call'] == 'pyramid':
        return {f'out{i}': x for i, x in enumerate(model(images))}
    kind = type(model.backbone).__name__
    if case['call'] == 'train':
        return TRAINING_PASSES[kind](model, case, images)
    maps, stages = model.backbone.forward_with_stages(images)
    logits = model.head(model.neck(maps) if model.with_neck else maps)
    details = DETAILS[kind](model, images) if kind in DETAILS else {}
    outs = {f'stage{i}': x for i, x in enumerate(stages, start=1)}
    return {'logits': logits, 'featmap': stages[-1], **outs, **details}


def deviations(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, float]:
    got = outputs(golden, case, dtype)
    expected = {**case['outputs'], **case.get('buffers_after', {})}
    return {name: deviation(got[name], value) for name, value in expected.items()}


def deviation(got: torch.Tensor, expected: dict | float) -> float:
    return mismatch(digest(got), expected) if isinstance(expected, dict) else abs(got.item() / expected - 1)


@pytest.mark.parametrize('name', GOLDENS)
def test_every_golden_is_tested(name):
    golden = GOLDENS[name]
    assert name in RUN_HERE or golden.get('op') in ELSEWHERE, (
        f'{name}: its network is missing from the zoo, or its operator is missing from tests/operators')


@pytest.mark.parametrize('golden, case, dtype', cases())
def test_outputs(golden, case, dtype):
    worst = deviations(golden, case, dtype)
    assert max(worst.values()) <= (golden['rtol'] if dtype == torch.float64 else 1e-4), worst


@pytest.mark.parametrize('name', NETWORKS)
def test_parameter_count(name):
    """Counts the parameters of the classifier, or of the backbone if the golden is not of a classifier."""
    golden = NETWORKS[name]
    overrides = {**golden.get('overrides', {}), **golden['inputs'][0].get('overrides', {})}
    config = VARIANTS[golden['variant']].model_config(task_of(golden['inputs'][0]), **overrides)
    assert count_parameters(config) == golden['num_params']


def count_parameters(config: dict) -> int:
    with torch.device('meta'):
        return sum(p.numel() for p in MODELS.build(config).parameters())
