"""Reads goldens from ``tests/goldens`` and from the folder in the environment variable ``MMVIT_GOLDENS``."""
import json
import os
from pathlib import Path

from mmvit_backbones import list_models
from mmvit_backbones.zoo.variants import VARIANTS

SMALL = {variant.name for variant in VARIANTS.values() if variant.num_params < 12e6}  # larger networks take seconds


def read_goldens() -> dict[str, dict]:
    """Returns all goldens by file name, with the folder appended if the name is taken by a different golden."""
    goldens = {}
    for folder in filter(None, (Path(__file__).parent / 'goldens', os.environ.get('MMVIT_GOLDENS'))):
        paths = sorted(Path(folder).rglob('golden_*.json'))
        if not paths:
            raise FileNotFoundError(f'no golden_*.json in {str(folder)!r}')
        for path in paths:
            golden = json.loads(path.read_text())
            is_other = goldens.get(path.stem, golden) != golden
            goldens[f'{path.stem}@{folder}' if is_other else path.stem] = golden
    return goldens


GOLDENS = read_goldens()
NETWORKS = {name: golden for name, golden in GOLDENS.items() if golden.get('variant') in list_models()}
