"""Reads the authors' weights in this package's layout, and writes them to a file for OpenMMLab's configs."""
import io
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ..errors import UsageError
from ..utils.file_access import check_outputs, replaced_when_complete
from .checkpoints import read_checkpoint, read_published
from .download import cached_file
from .loading import LAYOUTS
from .reading import find_checkpoint
from .state_dicts import find_state_dict, strip_prefix
from .variants import VARIANTS

FILES = '.pth', '.safetensors'


def convert_weights(source: str, out: str | Path, prefix: str | None = None,
                    task: Literal['classification', 'backbone'] = 'classification') -> str:
    """Converts the authors' weights of a network to a file, and returns a description of what was written.

    Args:
        source (str): A network's published weights, ``NAME`` or ``NAME/TAG``, which are downloaded if necessary; or a
            path or URL of the authors' file.
        out (str | Path): File that ends with ``.pth`` or ``.safetensors``, with mmpretrain's keys for a classifier, and
            mmdet's or mmseg's for a detector or segmenter.
        prefix (str | None): Prefix of the names in a file that holds several models; see :func:`find_state_dict`.
        task (str): ``'backbone'`` omits the classifier and the prefix of the backbone's weights. Defaults to
            ``'classification'``.

    Raises:
        UsageError: If an argument is invalid.
        CheckpointError: If the weights are unavailable, or are not those of a network.
    """
    if Path(out).suffix not in FILES:
        raise UsageError(f'out must end with {" or ".join(FILES)}, got {out}')
    check_outputs('out', [out], [file_of(source)])
    weights = read_converted(source, prefix)
    return write_file(strip_prefix(weights, 'backbone.') if task == 'backbone' else weights, Path(out))


def is_published(source: str) -> bool:
    return source.partition('/')[0] in VARIANTS and not Path(source).exists()


def file_of(source: str) -> str | Path:
    """Returns the file that is read, for published weights that of the cache."""
    if not is_published(source):
        return find_checkpoint(source)
    name, _, tag = source.partition('/')
    return cached_file(VARIANTS[name].published_weights(tag or True))


def read_converted(source: str, prefix: str | None = None) -> dict[str, Tensor]:
    """Returns published weights, or those of a file, with the keys of mmpretrain, mmdet or mmseg."""
    name, _, tag = source.partition('/')
    if is_published(source):
        if prefix:
            raise UsageError('prefix requires a file; use NAME/TAG to select published weights')
        return read_published(VARIANTS[name], tag or True)
    weights, layout = find_state_dict(read_checkpoint(source), LAYOUTS, (), source, prefix)
    if layout is None:
        raise UsageError(f'{source} is not a published checkpoint of any network; its keys are '
                         f'{", ".join(list(weights)[:2])}, ...')
    return layout.convert(weights, source)


def write_file(weights: dict[str, Tensor], path: Path) -> str:
    content = io.BytesIO()
    if path.suffix == '.safetensors':
        from safetensors.torch import save
        content.write(save({key: value.contiguous() for key, value in weights.items()}))
    else:
        torch.save(dict(state_dict=weights, meta={}), content)
    with replaced_when_complete(path) as part:
        part.write_bytes(content.getbuffer())
    return f'{path}: {len(weights)} tensors, {sum(weight.numel() for weight in weights.values()):,} elements'
