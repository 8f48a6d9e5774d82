"""The authors' numbers: every golden in ``tests/goldens`` and in the folder that ``MMVIT_GOLDENS`` names.

A golden of a network needs no code; one of an operator or block (``golden_op_*``) names its function in
``operators/``.
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

# What varied-size window attention computes has tests of its own, by the name of the operator:
# ops/test_varied_size_window.py and layers/test_vitae_cell.py.
ELSEWHERE = {'cells', 'vsa_attention_core', 'vsa_attention_module', 'vsa_sampling'}
RUN_HERE = {name: golden for name, golden in GOLDENS.items() if name in NETWORKS or golden.get('model') in OPERATORS}


def cases() -> list:
    """Returns every input of every golden in float64, and the first of a family's smallest network in float32, ordered
    by golden to reuse weights.
    """
    found = []
    for name, golden in RUN_HERE.items():
        for i, case in enumerate(golden['inputs']):
            shape = 'x'.join(map(str, case.get('shape', [i])))
            for dtype in (torch.float64, torch.float32)[:1 if i or is_large(name) else 2]:
                is_slow = name in NETWORKS and dtype == torch.float64
                found.append(pytest.param(golden, case, dtype, id=f'{name}-{case["call"]}-{shape}-{dtype}',
                                          marks=[pytest.mark.slow] if is_slow else []))
    return found


def is_large(name: str) -> bool:
    return name in NETWORKS and NETWORKS[name]['variant'] not in SMALL


def task_of(case: dict) -> str:
    if case['call'] not in ('classify', 'train'):
        return 'backbone'
    pytest.importorskip('mmpretrain.models')  # without it, what torch and MMEngine suffice for is tested
    return 'classification'


def build(golden: dict, case: dict, dtype: torch.dtype):
    """The model of a golden's input with the golden's weights, in evaluation mode."""
    overrides = {**golden.get('overrides', {}), **case.get('overrides', {})}
    if case['call'] == 'train':
        overrides['drop_path_rate'] = 0.
    task = task_of(case)
    model = get_model(golden['variant'], task, **overrides).to(dtype).eval()  # before: no weight is rounded
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
    stages = model.backbone.forward_stages(images)
    details = DETAILS[kind](model, images) if kind in DETAILS else {}
    outs = {f'stage{i}': x for i, x in enumerate(stages, start=1)}
    return {'logits': model(images), 'featmap': stages[-1], **outs, **details}


def deviations(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, float]:
    got = outputs(golden, case, dtype)
    expected = {**case['outputs'], **case.get('buffers_after', {})}
    return {name: deviation(got[name], value) for name, value in expected.items()}


def deviation(got: torch.Tensor, expected: dict | float) -> float:
    return mismatch(digest(got), expected) if isinstance(expected, dict) else abs(got.item() / expected - 1)


@pytest.mark.parametrize('name', GOLDENS)
def test_is_run(name):
    """Otherwise, the variant is missing from the zoo, or the adapter of the operator from ``operators/``."""
    golden = GOLDENS[name]
    assert name in RUN_HERE or golden.get('op') in ELSEWHERE, f'{name} is of a network or operator that is not here'


@pytest.mark.parametrize('golden, case, dtype', cases())
def test_outputs(golden, case, dtype):
    worst = deviations(golden, case, dtype)
    assert max(worst.values()) <= (golden['rtol'] if dtype == torch.float64 else 1e-4), worst


@pytest.mark.parametrize('name', NETWORKS)
def test_parameter_count(name):
    """Counts the parameters of the classifier, or of the backbone if the authors' dense version has no classifier."""
    golden = NETWORKS[name]
    overrides = {**golden.get('overrides', {}), **golden['inputs'][0].get('overrides', {})}
    config = VARIANTS[golden['variant']].model_config(task_of(golden['inputs'][0]), **overrides)
    assert count_parameters(config) == golden['num_params']


def count_parameters(config: dict) -> int:
    with torch.device('meta'):
        return sum(p.numel() for p in MODELS.build(config).parameters())
