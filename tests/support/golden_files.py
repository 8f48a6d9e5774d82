"""Reads goldens from ``tests/goldens`` and from the folder in the environment variable ``MMVIT_GOLDENS``."""
import json
import math
import os
from pathlib import Path

from mmvit_backbones import list_models
from mmvit_backbones.zoo.variants import VARIANTS

SMALL = {variant.name for variant in VARIANTS.values() if variant.num_params < 12e6}  # larger networks take seconds


def read_goldens() -> dict[str, dict]:
    """Returns all goldens by file name, with the folder appended if the name is taken by a different golden."""
    goldens = {}
    for folder in filter(None, (Path(__file__).parents[1] / 'goldens', os.environ.get('MMVIT_GOLDENS'))):
        paths = sorted(Path(folder).rglob('golden_*.json'))
        if not paths:
            raise FileNotFoundError(f'no golden_*.json in {str(folder)!r}')
        for path in paths:
            golden = json.loads(path.read_text())
            is_other = goldens.get(path.stem, golden) != golden
            goldens[f'{path.stem}@{folder}' if is_other else path.stem] = golden
    return goldens


def without_token_labels(golden: dict) -> dict:
    """Returns the golden of the same network without its head for token labels, whose logits are ``cls_logits``."""
    removed = {key: shape for key, shape in golden['state_dict'].items() if key.startswith('aux_head.')}
    first = golden['inputs'][0]
    outputs = {name: x for name, x in first['outputs'].items() if name not in ('aux_logits', 'logits')}
    return {**golden, 'variant': golden['variant'] + '_plain',
            'num_params': golden['num_params'] - sum(map(math.prod, removed.values())),
            'state_dict': {key: shape for key, shape in golden['state_dict'].items() if key not in removed},
            'inputs': [{**first, 'outputs': {**outputs, 'logits': outputs['cls_logits']}}]}


GOLDENS = read_goldens()
for _name in filter(GOLDENS.__contains__, ('golden_refiner_vit_m', 'golden_refiner_vit_l')):
    GOLDENS[f'{_name}_plain'] = without_token_labels(GOLDENS[_name])
NETWORKS = {name: golden for name, golden in GOLDENS.items() if golden.get('variant') in list_models()}
