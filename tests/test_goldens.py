"""Comparison with recorded results of the authors' code (goldens).

Goldens are read from ``tests/goldens`` and from the folder in ``MMVIT_GOLDENS``. Most goldens of networks need no
additional code. Goldens of an operator or a block (``golden_op_*``) run if ``operators/`` has a function for them: of
what the goldens of whole networks do not cover.
"""
import json

import pytest
import torch
from golden import digest, fill_state_dict, make_input, mismatch
from golden_files import GOLDENS, NETWORKS, SMALL
from mmengine.registry import MODELS
from operators import DETAILS, OPERATORS, TRAINING_PASSES
from torch import nn

from mmvit_backbones import convert_state_dict
from mmvit_backbones.zoo.building import model_config
from mmvit_backbones.zoo.variants import VARIANTS

RUN_HERE = {name: golden for name, golden in GOLDENS.items() if name in NETWORKS or golden.get('model') in OPERATORS}

NETWORKS_DEVIATE = 1e-8  # at most, in float64, as docs/zoo.md says; the digests have ten digits
LARGE = 30e6  # parameters; larger networks take many seconds in float64, and up to 6 GB; one of each family is quick


def smallest_classifiers() -> dict[str, dict]:
    """Returns the golden of the smallest classifier of each family; its first case, the last in the list, is of it."""
    ordered = sorted(NETWORKS.values(), key=lambda golden: golden['num_params'], reverse=True)
    return {VARIANTS[golden['variant']].family.name: golden for golden in ordered
            if golden['inputs'][0]['call'] == 'classify'}


def cases() -> list:
    """Returns all inputs of all goldens in float64, and the first input also in float32 for small networks.

    Inputs are ordered by golden, so that :func:`filled` can reuse the weights.
    """
    found, smallest = [], smallest_classifiers().values()
    for name, golden in RUN_HERE.items():
        for i, case in enumerate(golden['inputs']):
            shape = 'x'.join(map(str, case.get('shape', [i])))
            has_float32 = i == 0 and (name not in NETWORKS or golden['variant'] in SMALL)
            for dtype in (torch.float64, torch.float32) if has_float32 else (torch.float64, ):
                marks = []
                if name in NETWORKS and dtype == torch.float64:
                    is_large = golden['num_params'] > LARGE and golden not in smallest
                    marks = [pytest.mark.large if is_large else pytest.mark.slow]
                title = f'{name}-{case["call"]}-{shape}-{dtype}'
                found.append(pytest.param(golden, case, dtype, id=title, marks=marks))
    return found


def task_of(case: dict) -> str:
    if case['call'] not in ('classify', 'train'):
        return 'backbone'
    pytest.importorskip('mmpretrain.models')  # backbones are also tested without mmpretrain
    return 'classification'


def build(golden: dict, case: dict, dtype: torch.dtype):
    """Builds the model for a case of a golden, with the weights of the golden, in evaluation mode."""
    task = task_of(case)
    overrides = {**golden.get('overrides', {}), **case.get('overrides', {})}
    if case['call'] == 'train':
        overrides['drop_path_rate'] = 0.
    with torch.device('meta'):  # the largest network has 5 GB of weights in float64
        model = MODELS.build(model_config(VARIANTS[golden['variant']], task, **overrides)).eval()
    weights = convert_state_dict(golden['variant'], filled(json.dumps(golden['state_dict'])), task)
    trains = case['call'] == 'train'  # a training pass changes buffers, so it must not share them with other cases
    model.load_state_dict({key: x.to(dtype, copy=trains) for key, x in weights.items()}, assign=True)
    return model


def filled(shapes: str, cache: dict[str, dict[str, torch.Tensor]] = {}) -> dict[str, torch.Tensor]:  # noqa: B006
    """Returns the weights of the given shapes; keeps only the last ones, and frees them before it creates others."""
    if shapes not in cache:
        cache.clear()
        cache[shapes] = fill_state_dict(json.loads(shapes))
    return cache[shapes]


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
    details = DETAILS[kind](model, images) if kind in DETAILS else {}
    return {**Classification(model)(images), **details}


class Classification(nn.Module):
    """Returns logits and the maps of all stages by their names in goldens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps, stages = self.model.backbone.forward_with_stages(images)
        logits = self.model.head(self.model.neck(maps) if self.model.with_neck else maps)
        return {'logits': logits, 'featmap': stages[-1], **{f'stage{i}': x for i, x in enumerate(stages, start=1)}}


def deviations(golden: dict, case: dict, dtype: torch.dtype) -> dict[str, float]:
    got = outputs(golden, case, dtype)
    expected = {**case['outputs'], **case.get('buffers_after', {})}
    return {name: deviation(got[name], value) for name, value in expected.items()}


def deviation(got: torch.Tensor, expected: dict | float) -> float:
    return mismatch(digest(got), expected) if isinstance(expected, dict) else abs(got.item() / expected - 1)


@pytest.mark.parametrize('golden, case, dtype', cases())
def test_outputs(golden, case, dtype):
    worst = deviations(golden, case, dtype)
    allowed = 1e-4 if dtype == torch.float32 else NETWORKS_DEVIATE if 'variant' in golden else golden['rtol']
    assert max(worst.values()) <= allowed, worst


@pytest.mark.enumerates
def test_every_network_has_a_golden():
    """The whole network, not only a part, is compared with the authors' code."""
    missing = set(VARIANTS) - {golden['variant'] for golden in NETWORKS.values()}
    assert not missing, f'tests/goldens lacks goldens, which tools/dev/make_golden.py writes, of {sorted(missing)}'


@pytest.mark.parametrize('name', NETWORKS)
def test_parameter_count(name):
    """Counts the parameters of the classifier, or of the backbone if the golden is not of a classifier."""
    golden = NETWORKS[name]
    overrides = {**golden.get('overrides', {}), **golden['inputs'][0].get('overrides', {})}
    config = model_config(VARIANTS[golden['variant']], task_of(golden['inputs'][0]), **overrides)
    assert count_parameters(config) == golden['num_params']


def count_parameters(config: dict) -> int:
    with torch.device('meta'):
        return sum(p.numel() for p in MODELS.build(config).parameters())
