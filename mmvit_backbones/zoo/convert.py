"""Writes the authors' weights in this package's layout, or those of a training, to a file for OpenMMLab's configs."""
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..errors import UsageError
from ..utils.file_access import check_outputs, replaced_when_complete
from .checkpoints import read_checkpoint
from .download import cached_file
from .loading import LAYOUTS
from .reading import find_checkpoint
from .state_dicts import find_state_dict, names_in_backbones, strip_prefix
from .variants import OFFICIAL, VARIANTS

FILES = '.pth', '.safetensors'


def convert_weights(source: str, out: str | Path, prefix: str | None = None,
                    task: Literal['classification', 'backbone'] = 'classification') -> str:
    """Converts weights to a file, and returns a description of what was written.

    The file has the weights of a model alone, and a ``.pth`` file its ``meta``: no history of a training, whose pickled
    objects scanners call infected.

    Args:
        source (str): A network's published weights, ``NAME`` or ``NAME/TAG``, which are downloaded if necessary; a path
            or URL of the authors' file; or the work dir of a training, for its best checkpoint, or a checkpoint.
        out (str | Path): File that ends with ``.pth`` or ``.safetensors``, with mmpretrain's keys for a classifier, and
            mmdet's or mmseg's for a detector or segmenter.
        prefix (str | None): Prefix of the names in a file that holds several models; see :func:`find_state_dict`.
        task (str): ``'backbone'`` omits the classifier and the prefix of the backbone's weights. Defaults to
            ``'classification'``.

    Raises:
        UsageError: If an argument is invalid.
        CheckpointError: If the weights are unavailable, or are neither those of a network nor of a model of OpenMMLab.
    """
    if Path(out).suffix not in FILES:
        raise UsageError(f'out must end with {" or ".join(FILES)}, got {out}')
    name, _, tag = source.partition('/')
    if name in VARIANTS and not Path(source).exists():
        if prefix:
            raise UsageError('prefix requires a file; use NAME/TAG to select published weights')
        source, read = f'{OFFICIAL}{source}', str(cached_file(VARIANTS[name].published_weights(tag or True)))
    else:
        read = find_checkpoint(source)
    check_outputs('out', [out], [read])
    weights, meta = read_converted(source, prefix)
    return write_file(strip_prefix(weights, 'backbone.') if task == 'backbone' else weights, meta, Path(out))


def read_converted(source: str, prefix: str | None = None) -> tuple[dict[str, Tensor], dict]:
    """Returns the weights in a file with the keys of mmpretrain, mmdet or mmseg, and its ``meta``."""
    checkpoint = read_checkpoint(source)
    weights, layout = find_state_dict(checkpoint, LAYOUTS, names_in_backbones(checkpoint), source, prefix)
    if layout:
        return weights, {}
    if not any(key.startswith('backbone.') for key in weights):
        raise UsageError(f'{source} is neither a published checkpoint of any network nor of a model of OpenMMLab; its '
                         f'keys are {", ".join(list(weights)[:2])}, ...')
    return weights, checkpoint.get('meta') or {}


def write_file(weights: dict[str, Tensor], meta: dict, path: Path) -> str:
    """Writes weights to a ``.pth`` or ``.safetensors`` file, and returns what was written."""
    with replaced_when_complete(path) as part, part.open('wb') as file:
        if path.suffix == '.safetensors':
            from safetensors.torch import save
            file.write(save({key: value.clone(memory_format=torch.contiguous_format)  # safetensors refuses shared
                             for key, value in weights.items()}))
        else:
            torch.save(dict(state_dict=weights, meta=meta), file)
    return f'{path}: {len(weights)} tensors, {sum(weight.numel() for weight in weights.values()):,} elements'
