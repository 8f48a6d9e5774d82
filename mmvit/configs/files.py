"""Loads and checks config files."""
import os
import os.path as osp
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.file_access import problem_of_file
from mmvit_backbones.utils.installation import config_folder
from mmvit_backbones.utils.literals import read_values
from mmvit_backbones.utils.messages import near_names

from .. import frameworks
from ..frameworks.building import check_scope, import_quietly
from ..utils.config_parts import LOADERS
from .options import check_option
from .saved import read_saved_config

CONFIGS = '.py', '.json', '.yaml', '.yml'
BY_NAME = 'as config=FILE (--config FILE)'  # how a person names a config


def read_config(path: str | Config, needs: Sequence[str] = ()) -> Config:
    """Loads a config that a person named, and checks that it has the keys ``needs``.

    Args:
        path (str | Config): Config file, which is run, or the name of a config of this package; or what was read.
        needs (Sequence[str]): Keys.

    Raises:
        UsageError: If the config does not exist, cannot be read or lacks a key.
    """
    if isinstance(path, Config):
        return _checked(deepcopy(path), needs)
    path = find_config(path)
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is Python code, which can raise any exception
        reason = first_line(error)
        if isinstance(error, ImportError) and error.__cause__:  # of custom_imports; MMEngine lists sys.path
            first: BaseException = error.__cause__
            reason = (f'{first_line(first.__context__ or first)}; set the environment variable PYTHONPATH to the '
                      'folder that contains the modules of custom_imports')
        raise UsageError(f'config {path} cannot be read: {reason}') from error
    return _checked(cfg, needs)


def read_saved(source: str, checkpoint: Mapping | None = None, folder: str = '', needs: Sequence[str] = (),
               remedy: str = BY_NAME, origin: str = '', keeps_start: bool = False) -> Config:
    """Loads the config of a training, which is not run: that inside its checkpoint, or else the only one beside it.

    Args:
        source (str): The checkpoint, or the work dir of a training that has none.
        checkpoint (Mapping | None): What is in the checkpoint. Defaults to None: there is none.
        folder (str): Folder of the file that a config inside a checkpoint is taken for. Defaults to
            ``work_dirs/NAME``.
        needs (Sequence[str]): Keys.
        remedy (str): How a person names a config, for messages.
        origin (str): Setting from which nothing is built. Defaults to none.
        keeps_start (bool): Whether the model keeps the weights to start from, which a resumed training records but does
            not load. Defaults to False.

    Raises:
        UsageError: If there is no such config, or several, or it has more than values (:func:`.read_values`) and
            registered classes; or lacks a key.
    """
    meta = (checkpoint or {}).get('meta') or {}
    text, place = meta.get('cfg'), f'the config in checkpoint {source}'
    if isinstance(text, str) and text.strip():
        # MMEngine names a run after the file of its config and the time.
        name = re.sub(r'_?\d{8}_\d{6}$', '', osp.basename(str(meta.get('experiment_name') or ''))) or 'config'
        file = Path(folder or osp.join('work_dirs', name), f'{name}.py')
        values, other = read_values(text)
        if other:
            raise UsageError(f'{place} has more than values in line {other}; pass its config {remedy}')
    else:
        file, text, values = saved_config(source, remedy)
        place = str(file)
    described = {origin: values.pop(origin)} if origin in values else {}
    try:
        cfg = read_saved_config(file, text, values, keeps_start)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{place} {error}; nobody named it, so it may only set values and name registered '
                         f'classes; if you trust it, pass it {remedy}') from error
    cfg.merge_from_dict(described)
    return _checked(cfg, needs)


def _checked(cfg: Config, needs: Sequence[str]) -> Config:
    """Returns a config that was read, after checking that it has the keys ``needs``, as its framework completes it."""
    check_parts(cfg, needs)
    if getattr(cfg, '_imported_names', None):  # pure Python, whose classes are imported when they are first read
        import_quietly(cfg.default_scope)
    frameworks.of(cfg).complete(cfg)
    return cfg


def merge_options(cfg: Config, options: Mapping | None) -> None:
    """Sets options such as ``{'a.b.c': value}`` in a config.

    Raises:
        UsageError: If the key of an option is unknown, or its value does not fit the config.
    """
    for key, value in (options or {}).items():
        check_option(cfg, key, value)
    try:
        cfg.merge_from_dict(dict(options or {}))
    except Exception as error:  # merging can fail in many ways, e.g. at an index beyond the end of a list
        raise UsageError(f'options {dict(options or {})} do not fit {cfg.filename}: {first_line(error)}') from error


def find_config(name: str) -> str:
    """Returns the path of a config: this package's config with that name, or else ``name`` itself if it is a file.

    Raises:
        UsageError: If there is no such config; the message contains similar names, if there are any.
    """
    known = named_configs()
    if name in known:
        return str(known[name])
    if osp.isfile(name):
        return name
    raise UsageError(f'config {name} {problem_of_file(name)}{near_names(Path(name).stem, known)}')


def saved_config(source: str, remedy: str) -> tuple[Path, str, dict[str, Any]]:
    """Returns the only file of values in a work dir, or beside a checkpoint, its text and values.

    Raises:
        UsageError: If there is none, or more than one.
    """
    folder = Path(source) if osp.isdir(source) else Path(source).parent
    places = () if '://' in source else sorted(folder.glob('*.py'))
    files = [file for file in places if file.is_file() and os.access(file, os.R_OK)]
    texts = {file: file.read_bytes() for file in files}
    read = {file: read_values(text) for file, text in texts.items()}
    found = [(file, values) for file, (values, other) in read.items() if other is None]
    if len(found) == 1:
        (file, values), = found
        return file, texts[file].decode('utf-8-sig', errors='replace'), values
    state = 'are several configs' if found else 'is no config'
    names = [f'{file.name} has more in line {other}' if other else file.name for file, (_, other) in read.items()]
    raise UsageError(f'there {state} of values alone in {source} or beside it ({", ".join(names) or "no file"}); pass '
                     f'its config {remedy}')


def named_configs() -> dict[str, Path]:
    """Returns the paths of this package's configs by name."""
    return {path.stem: path for path in sorted(config_folder().glob('*.py'))}


def is_config(name: str) -> bool:
    """Returns whether ``name`` has a config's suffix, or names one of this package's configs."""
    return name.lower().endswith(CONFIGS) or name in named_configs()


def check_parts(cfg: Config, needs: Sequence[str] = ()) -> None:
    """Raises UsageError if a config lacks a required key, or its ``default_scope`` is no installed package."""
    path = cfg.filename
    check_scope(cfg)
    for key in [*needs, *(key for key in LOADERS if cfg.get(key))]:
        part = cfg.get(key)
        if key.endswith('_evaluator') and isinstance(part, list):
            continue
        if not isinstance(part, dict):
            raise UsageError(f'config {path}: {key} must be a dict, got {part!r}')
        if key in LOADERS and not isinstance(part.get('dataset'), dict):
            raise UsageError(f'config {path}: {key}.dataset must be a dict, got {part.get("dataset")!r}')
