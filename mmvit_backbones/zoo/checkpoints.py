"""Reads checkpoints by what names them: a file, a work dir, a URL, published weights, or those of a library."""
import os.path as osp
from typing import Any, Literal

from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..errors import CheckpointError
from .download import fetch, fetch_url
from .hubs import HUB_OF_TIMM, OPENMMLAB, fetch_openmmlab, read_timm
from .reading import find_checkpoint, read_file
from .state_dicts import find_state_dict, strip_prefix
from .variants import Variant, published_by

AVERAGED = 'state_dict_ema', 'model_ema'  # the averaged weights in the authors' files, which are the published ones
WEB = 'http://', 'https://'


def read_checkpoint(filename: str, map_location: str | None = 'cpu', mmap: bool = False) -> dict:
    """Reads a checkpoint without executing code in it.

    Args:
        filename (str): A file; the work dir of a training (:func:`find_checkpoint`); an http(s) URL;
            ``official://NAME[/TAG]`` for the authors' weights, which are converted; ``timm://NAME``, downloaded by
            timm; a name in MMEngine's tables (``hubs.OPENMMLAB``), such as ``torchvision://NAME``; or a name with a
            scheme whose loader the user has registered in MMEngine.
        map_location (str | None): Device of the tensors; the authors' weights are always on the CPU.
        mmap (bool): See :func:`read_file`.

    Raises:
        CheckpointError: If the checkpoint cannot be found, downloaded or read, or contains types that are not allowed.
    """
    if published := published_by(filename):
        return dict(state_dict=read_published(*published))
    if filename.startswith(HUB_OF_TIMM):
        return dict(state_dict=read_timm(filename))
    if filename.startswith(WEB):
        return read_file(fetch_url(filename), map_location, mmap)
    if filename.startswith(OPENMMLAB):
        checkpoint = read_file(fetch_openmmlab(filename), map_location, mmap)
        if filename.startswith('mmcls://'):  # as MMEngine, the backbone of a classifier
            return dict(state_dict=strip_prefix(find_state_dict(checkpoint, source=filename)[0], 'backbone.'))
        return checkpoint
    if '://' in filename and not osp.exists(osp.expanduser(filename)):
        loader: Any = CheckpointLoader._get_checkpoint_loader(filename)
        if loader.__module__.startswith(('mmengine.', 'mmvit_backbones.')):  # MMEngine's unpickle any objects
            raise CheckpointError(f'checkpoint {filename} cannot be loaded, or not without running code in it; use a '
                                  'file or an http(s) URL')
        return loader(filename, map_location)
    return read_file(find_checkpoint(filename), map_location, mmap)


def read_published(variant: Variant, tag: str | Literal[True]) -> dict[str, Tensor]:
    """Returns the converted published weights of a variant, and downloads them if they are not cached.

    Raises:
        CheckpointError: If the weights are unavailable, corrupt or belong to another network.
    """
    path = fetch(variant.published_weights(tag))
    checkpoint, source = read_file(path), str(path)
    averaged = next((key for key in AVERAGED if key in checkpoint), None)
    return find_state_dict(checkpoint, [variant.family.layout], (), source, averaged)[0]
