"""Writes the authors' weights in this package's layout, or those of a training, to a file for OpenMMLab's configs."""
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..utils.file_access import check_outputs, replaced_when_complete
from ..utils.literals import read_values
from ..version import __version__
from .checkpoints import read_checkpoint
from .converters.layout import Layout
from .download import cached_file
from .fitting import check_finite
from .loading import LAYOUTS
from .reading import DETAILS, OF_DATA, find_checkpoint
from .settings import setting, variants_of
from .source import DETECTOR_HEADS, Weights, describe_file, open_weights
from .state_dicts import find_state_dict, names_in_backbones, select, strip_prefix
from .variants import OFFICIAL, VARIANTS

FILES = '.pth', '.safetensors'
# How names of weights begin -> the task, as in exported files.
TASKS = {DETECTOR_HEADS: 'detection', ('decode_head.', ): 'segmentation', ('head.', ): 'classification'}
CONFIGS = 'cfg', 'config'  # keys of `meta`


def convert_weights(source: str, out: str | Path, prefix: str | None = None,
                    task: Literal['classification', 'backbone'] = 'classification') -> str:
    """Converts weights to a file, and returns a description of what was written.

    The file has the weights of a model, and in its metadata what their names do not tell (:func:`describe`): no history
    of a training, whose pickled objects scanners call infected, and no config, which has paths.

    Args:
        source (str): A network's published weights, ``NAME`` or ``NAME/TAG``, which are downloaded if necessary; a path
            or URL of the authors' file; or the work dir of a training, for its best checkpoint, or a checkpoint.
        out (str | Path): File that ends with ``.pth`` or ``.safetensors``, with mmpretrain's keys for a classifier, and
            mmdet's or mmseg's for a detector or segmenter.
        prefix (str | None): Prefix of the names of one model in a file, which is taken off. Whatever network they are
            of, they are written; those of ``backbone.*`` or of the authors as above. Defaults to None.
        task (str): ``'backbone'`` omits the classifier and the prefix of the backbone's weights. Defaults to
            ``'classification'``.

    Raises:
        UsageError: If an argument is invalid.
        CheckpointError: If the weights are unavailable, or are neither those of a network nor of a model of OpenMMLab.
    """
    if Path(out).suffix not in FILES:
        raise UsageError(f'out must end with {" or ".join(FILES)}, got {out}')
    name, _, tag = source.partition('/')
    if name in VARIANTS and (not tag or tag in VARIANTS[name].weights or not Path(source).exists()):
        if prefix:
            raise UsageError('prefix requires a file; use NAME/TAG to select published weights')
        source, read = f'{OFFICIAL}{source}', str(cached_file(VARIANTS[name].published_weights(tag or True)))
    else:
        read = find_checkpoint(source)
    check_outputs('out', [out], [read])
    checkpoint = read_checkpoint(source)
    checkpoint = select(checkpoint, prefix, source) if prefix else checkpoint
    weights, layout = find_state_dict(checkpoint, LAYOUTS, names_in_backbones(checkpoint), source)
    if not layout and not prefix and not any(key.startswith('backbone.') for key in weights):
        raise UsageError(f'{source} is neither a published checkpoint of any network nor of a model of OpenMMLab; its '
                         f'keys are {", ".join(list(weights)[:2])}, ...')
    check_finite(weights, source)
    weights = strip_prefix(weights, 'backbone.') if task == 'backbone' else weights
    return write_file(weights, describe(weights, open_weights(source) or Weights(source), layout), Path(out))


def describe(weights: Mapping[str, Tensor], source: Weights, layout: Layout | None = None) -> dict[str, Any]:
    """Returns the ``meta`` of a file of weights, with JSON of what their names do not tell under :data:`DETAILS`.

    That is the network, how images are normalized, and the classes, as far as ``source`` tells them.

    Args:
        weights (Mapping): The weights that are written, with this package's names.
        source (Weights): Those that they are from.
        layout (Layout | None): The authors' layout of these. Defaults to None: this package's.
    """
    meta = {key: value for key, value in source.meta.items() if key not in CONFIGS}
    variant = source.variant or next((each for each in VARIANTS.values() if each.family.layout is layout), None)
    images, network = source.images, meta.get(DETAILS, {}).get('network') or network_of(source)
    if variant:  # the authors' weights
        opened = source if source.is_published else describe_file(source, variant)
        images = setting(variant, weights=opened).images
    task = next((task for parts, task in TASKS.items() if any(name.startswith(parts) for name in weights)), 'backbone')
    known = asdict(images) if images else {}
    known |= {key: value for key, value in (meta.get('dataset_meta') or {}).items() if key in OF_DATA}
    details = dict(version=__version__, network=network or layout and layout.network, task=task, **known)
    return meta | {DETAILS: json.dumps(details, default=np.ndarray.tolist)}


def network_of(source: Weights) -> str | None:
    """Returns the name of the network of published weights, or of the config of a training."""
    model: Any = read_values(str(source.meta.get('cfg')))[0].get('model')
    backbone = model.get('backbone') if isinstance(model, Mapping) else None
    if source.variant or not isinstance(backbone, Mapping):
        return source.variant and source.variant.name
    names = [variant.name for variant in variants_of(backbone, model.get('head') or {})]
    return names[0] if names else str(backbone.get('name') or backbone.get('type'))


def write_file(weights: Mapping[str, Tensor], meta: dict, path: Path) -> str:
    """Writes weights to a ``.pth`` or ``.safetensors`` file, and returns what was written."""
    with replaced_when_complete(path) as part, part.open('wb') as file:
        if path.suffix == '.safetensors':
            from safetensors.torch import save
            file.write(save({key: value.clone(memory_format=torch.contiguous_format)  # safetensors refuses shared
                             for key, value in weights.items()}, {'format': 'pt', DETAILS: meta[DETAILS]}))
        else:
            torch.save(dict(state_dict=dict(weights), meta=meta), file)
    return f'{path}: {len(weights)} tensors, {sum(weight.numel() for weight in weights.values()):,} elements'
