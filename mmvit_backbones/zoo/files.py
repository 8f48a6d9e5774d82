"""Finds and reads what a path stands for: a file, a work dir, a URL, or the authors' weights by their name.

``reading.py`` reads the file, ``state_dicts.py`` finds the weights in it, and ``loading.py`` goes on from there.
"""
import logging
import os.path as osp
from pathlib import Path
from typing import Literal

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..errors import CheckpointError, CheckpointNotFoundError
from ..utils.text import near_names
from .download import CONVERTED, fetch, fetch_url, first_reading
from .hubs import TIMM, TORCHVISION, fetch_torchvision, read_timm
from .reading import load_checkpoint_file
from .runs import are_of_one_run, recorded_best
from .state_dicts import find_state_dict
from .variants import VARIANTS, Variant

OFFICIAL = 'official://'
WEB = 'http://', 'https://'
LAST = 'last_checkpoint'  # MMEngine's text file with the path of the last checkpoint


def read_checkpoint(filename: str, map_location: str | None = 'cpu', mmap: bool = False) -> dict:
    """Reads a checkpoint without executing code in it.

    Args:
        filename (str): A file; the work dir of a training (:func:`find_checkpoint`); an http(s) URL;
            ``official://NAME[/TAG]`` for the authors' weights, which are converted; ``timm://NAME`` or
            ``torchvision://NAME``, downloaded by these libraries; or a name with another scheme, which is read by
            MMEngine's loader for the scheme.
        map_location (str | None): Device of the tensors; the authors' weights are always on the CPU.
        mmap (bool): See :func:`load_checkpoint_file`.

    Raises:
        UsageError: If ``map_location`` cannot be used.
        CheckpointError: If the checkpoint cannot be found, downloaded or read, or contains types that are not allowed.
    """
    if filename.startswith(OFFICIAL):
        return dict(state_dict=_read_official(filename.removeprefix(OFFICIAL)))
    if filename.startswith(TIMM):
        return dict(state_dict=read_timm(filename))
    if filename.startswith(TORCHVISION):
        return dict(state_dict=load_checkpoint_file(fetch_torchvision(filename)))
    if filename.startswith(WEB):
        path = fetch_url(filename)
        with first_reading(path):
            return load_checkpoint_file(path, map_location, mmap)
    if '://' in filename:
        try:
            return CheckpointLoader.load_checkpoint(filename, map_location)
        except FileNotFoundError:  # MMEngine takes a name with an unknown scheme for a file
            raise CheckpointError(f'checkpoint {filename} cannot be loaded; use a file or an http(s) URL') from None
    return load_checkpoint_file(find_checkpoint(filename), map_location, mmap)


def find_checkpoint(path: str) -> str:
    """Returns the checkpoint of a work dir: the best one of its last training, or else that of ``last_checkpoint``.

    The best one is the newest ``best_*.pth`` beside the last one or in the work dir. One of another training
    (:func:`.are_of_one_run`) is not taken, with a warning. The file ``last_checkpoint`` itself also stands for the
    checkpoint that it names. Other files, and URLs, are returned as they are.

    Raises:
        CheckpointNotFoundError: If a work dir has no checkpoint, or ``last_checkpoint`` names a missing file.
    """
    folder = Path(path)
    if folder.name == LAST and folder.is_file():
        return last_of(folder)
    if not folder.is_dir() or (folder / CONVERTED).exists():
        return path
    try:
        last, missing = last_of(folder / LAST) if (folder / LAST).is_file() else None, None
    except CheckpointNotFoundError as error:
        last, missing = None, error
    folders = {folder, Path(last).parent} if last else {folder}
    best = sorted((file for place in folders for file in place.glob('best_*.pth')), reverse=True,
                  key=lambda file: file.stat().st_mtime_ns)
    if best and last:
        best = _best_of_run(best, last)
    if not best and not last:
        raise missing or CheckpointNotFoundError(f'{path} has neither best_*.pth nor {LAST}, so it is not the work dir '
                                                 'of a training that saved a checkpoint')
    return str(best[0]) if best else str(last)


def _best_of_run(best: list[Path], last: str) -> list[Path]:
    """Returns those of the best checkpoints that are of the run of the last one; first those that it records."""
    try:
        newest = load_checkpoint_file(last, mmap=True)
    except CheckpointError:
        return best
    own = [file for file in best if _is_of_run(file, newest)]
    if not own:
        print_log(f'{best[0]} is of another training than {last}, and is not used', 'current', logging.WARNING)
    names = {osp.basename(path) for path in recorded_best(newest).values()}
    return sorted(own, key=lambda file: file.name not in names)


def _is_of_run(file: Path, checkpoint: dict) -> bool:
    try:
        return are_of_one_run(load_checkpoint_file(file, mmap=True), checkpoint)
    except CheckpointError:  # reported when it is loaded
        return True


def last_of(file: Path) -> str:
    """Returns the checkpoint that a file ``last_checkpoint`` names; in its own folder, if the work dir was moved.

    Raises:
        CheckpointNotFoundError: If there is no such file.
    """
    named = Path(file.read_text(encoding='utf-8').strip())
    parts = named.relative_to(named.anchor).parts
    inside = [file.parent.joinpath(*parts[start:]) for start in range(len(parts))]
    found = next((place for place in (*inside, named) if place.is_file()), None)
    if found is None:
        raise CheckpointNotFoundError(f'{file} names {named}, which does not exist')
    return str(found)


def _read_official(name: str) -> dict[str, Tensor]:
    """Returns the authors' weights of ``NAME`` or ``NAME/TAG``, converted to this package's keys."""
    network, _, tag = name.partition('/')
    if network not in VARIANTS:
        hint = near_names(network, VARIANTS) or '; see mmvit_backbones.list_models()'
        raise CheckpointNotFoundError(f'{OFFICIAL}{name}: unknown network {network!r}{hint}; omit {OFFICIAL} to '
                                      'load a file')
    return read_published(VARIANTS[network], tag or True)


def read_published(variant: Variant, tag: str | Literal[True]) -> dict[str, Tensor]:
    """Returns the converted published weights of a variant, and downloads them if they are not cached.

    Raises:
        CheckpointError: If the weights are unavailable, corrupt or belong to another network; an invalid file is set
            aside.
    """
    try:
        path = fetch(variant.published_weights(tag))
    except CheckpointError as error:
        if not variant.related_weights or variant.related_weights in str(error):
            raise
        raise CheckpointError(f'{error}{variant.related_hint}') from error
    with first_reading(path, f'checkpoint {path} cannot be used for {variant.name}: '):
        layout = variant.family.layout
        weights = find_state_dict(load_checkpoint_file(path), variant.name, layout.matches)
        if layout.matches(weights):  # otherwise, a mirror has converted them
            weights = layout.convert(weights, variant.name)
        if not any(key.startswith('backbone.') for key in weights):
            raise CheckpointError(f'no key matches; expected {layout.keys[0]!r}, got {next(iter(weights), None)!r}')
        if difference := variant.different_shape(weights):
            raise CheckpointError(difference)
    return weights
