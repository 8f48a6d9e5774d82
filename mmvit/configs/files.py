"""Loads and checks config files."""
import os.path as osp
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import CheckpointNotFoundError, UsageError, first_line
from mmvit_backbones.utils.file_access import problem_of_file
from mmvit_backbones.utils.installation import config_folder
from mmvit_backbones.utils.messages import near_names
from mmvit_backbones.utils.openmmlab_models import type_name

from ..utils.frameworks import FRAMEWORKS, import_quietly
from .options import check_option
from .saved import read_saved_config, values_of

CONFIGS = '.py', '.json', '.yaml', '.yml'
MMENGINE_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
SPLITS = ('train', 'val', 'test')
FOLDER_PER_CLASS = 'CustomDataset', 'ImageNet', 'ImageNet21k'  # if they have no annotation file
RECIPE = 'recipe'  # folder in the work dir of a fine-tuning
VISUALIZERS = dict(mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer', mmpretrain='UniversalVisualizer')
LOADERS = tuple(f'{split}_dataloader' for split in SPLITS)


def read_config(path: str | Config, needs: Sequence[str] = (), options: Mapping | None = None) -> Config:
    """Loads a config that a person named, applies options, and checks that it has the keys ``needs``.

    Args:
        path (str | Config): Config file, which is run, or the name of a config of this package; or what was read.
        needs (Sequence[str]): Keys.
        options (Mapping | None): Settings that replace the config's, such as ``{'a.b.c': value}``.

    Raises:
        UsageError: If the config does not exist, cannot be read or lacks a key, or an option is invalid.
    """
    if isinstance(path, Config):
        return _with_options(deepcopy(path), needs, options)
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
    return _with_options(cfg, needs, options)


def config_of(config: str | Config | None, source: str | None, needs: Sequence[str] = (),
              options: Mapping | None = None, remedy: str = 'as config=FILE (--config FILE)') -> Config:
    """Loads ``config``, or else the config that a training saved in its work dir, which is not run.

    Args:
        config (str | Config | None): Config that a person named, or that was read; or the work dir of a training.
        source (str | None): Work dir of the training, or a checkpoint in it. The folder may have one file of values
            (:func:`.values_of`).
        needs, options: As for :func:`read_config`.
        remedy (str): How a person names a config, for messages.

    Raises:
        UsageError: If there is no such config, or several, or it has more than values and registered classes; and as
            :func:`read_config`.
        CheckpointNotFoundError: If the checkpoint does not exist.
    """
    if isinstance(config, str) and osp.isdir(config) and not is_config(config):
        config, source = None, config
    if config is not None:
        return read_config(config, needs, options)
    if source is None:
        raise UsageError('pass the work dir of a training or a checkpoint, or a config (--config) with pretrained=True '
                         '(--pretrained)')
    file, values = saved_config(source, remedy)
    try:
        cfg = read_saved_config(file, values)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{file} {error}; nobody named it, so it may only set values and name registered '
                         f'classes; if you trust it, pass it {remedy}') from error
    return _with_options(cfg, needs, options)


def _with_options(cfg: Config, needs: Sequence[str], options: Mapping | None) -> Config:
    """Applies options to a config that was read, and checks that it has the keys ``needs``."""
    _use_own_lists(cfg, cfg.filename)
    merge_options(cfg, options)
    check_parts(cfg, needs)
    if getattr(cfg, '_imported_names', None):  # pure Python, whose classes are imported when they are first read
        import_quietly(cfg.default_scope)
    if cfg.default_scope == 'mmpretrain':
        for loader in [cfg[key] for key in LOADERS if cfg.get(key)]:
            loader.setdefault('collate_fn', dict(type='default_collate'))  # as its scripts do
    return cfg


def _use_own_lists(cfg: Config, path: str) -> None:
    """Lets the config of a fine-tuning read the lists and annotations in its work dir, which may have been moved.

    The run has written them to the folder ``recipe`` in its work dir.
    """
    if not cfg.get('recipe'):
        return
    lists = own_lists(path)
    for part in [part for split in SPLITS for part in (*datasets_of(cfg, split), *metrics_of(cfg, split))]:
        place, name = osp.split(osp.join(part.get('data_root') or '', part.get('ann_file') or ''))
        own = osp.join(lists, name)
        if osp.basename(place) == RECIPE and osp.realpath(place) != osp.realpath(lists) and osp.isfile(own):
            part['ann_file'] = own


def own_lists(path: str) -> str:
    """Returns the folder ``recipe`` of the work dir in which a config is, or is in such a folder."""
    folder = osp.dirname(osp.abspath(path))
    return folder if osp.basename(folder) == RECIPE else osp.join(folder, RECIPE)


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
    hooks = cfg.get('default_hooks') or {}
    if fixed := [name for name, hook in hooks.items() if hook is None and name not in MMENGINE_HOOKS]:
        raise UsageError(f'default_hooks.{fixed[0]} must be a dict, got None; MMEngine omits only '
                         f'{", ".join(MMENGINE_HOOKS)}')


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


def saved_config(source: str, remedy: str) -> tuple[Path, dict[str, Any]]:
    """Returns the file of values in a work dir, or beside a checkpoint, and its values: the training's config.

    Raises:
        UsageError: If there is none, or more than one.
        CheckpointNotFoundError: If the checkpoint does not exist.
    """
    folder = Path(source) if osp.isdir(source) else Path(source).parent
    if '://' not in source and folder != Path(source) and (reason := problem_of_file(source)):
        raise CheckpointNotFoundError(f'checkpoint {source} {reason}')
    found, others = [], []
    for file in sorted(folder.glob('*.py')) if '://' not in source else ():
        try:
            found.append((file, values_of(file)))
        except ValueError as error:
            others.append(f'{file.name} {error}')
    own = [(file, values) for file, values in found if (folder / RECIPE / file.name).is_file()]
    if len(own or found) == 1:
        return (own or found)[0]
    reason = (f'are several configs, {", ".join(file.name for file, _ in found)},' if found else
              f'is no config of values alone ({"; ".join(others[:3])})' if others else 'is no config')
    place = f'in {source}' if osp.isdir(source) else f'beside checkpoint {source}'
    raise UsageError(f'there {reason} {place}; pass its config {remedy}')


def named_configs() -> dict[str, Path]:
    """Returns the paths of this package's configs by name."""
    return {path.stem: path for path in sorted(config_folder().glob('*.py'))}


def is_config(name: str) -> bool:
    """Returns whether ``name`` has a config's suffix, or names one of this package's configs."""
    return name.lower().endswith(CONFIGS) or name in named_configs()


def leaf_datasets(dataset: dict) -> list[dict]:
    """Returns the dataset configs inside any wrappers, which all have the arguments of MMEngine's.

    For what must be known before a data set can be built: whether its files exist, and, for prediction without data,
    its test pipeline and its classes.
    """
    if 'datasets' in dataset:
        return [leaf for part in dataset['datasets'] for leaf in leaf_datasets(part)]
    if 'dataset' in dataset:
        return leaf_datasets(dataset['dataset'])
    return [dataset]


def datasets_of(cfg: Config, split: str) -> list[dict]:
    """Returns the unwrapped dataset configs of 'train', 'val' or 'test'; empty if the config lacks the split."""
    loader = cfg.get(f'{split}_dataloader')
    return leaf_datasets(loader['dataset']) if loader else []


def paths_of(dataset: dict) -> list[str]:
    """Returns the paths of the annotation file, if any, and of the image and mask folders; folders end with a slash."""
    split = dataset.get('split') if type_name(dataset) in FOLDER_PER_CLASS else ''  # elsewhere, a split is not a folder
    prefix = dataset.get('data_prefix') or split or ''
    folders = prefix.values() if isinstance(prefix, dict) else [prefix]
    names = [dataset['ann_file']] if dataset.get('ann_file') else []
    names += [osp.join(folder, '') for folder in folders]
    return [osp.join(dataset.get('data_root') or '', name) for name in names]


def metrics_of(cfg: Config, split: str) -> list[dict]:
    """Returns the evaluator configs of 'train', 'val' or 'test' as a list."""
    metrics = cfg.get(f'{split}_evaluator') or []
    return metrics if isinstance(metrics, list) else [metrics]


def check_parts(cfg: Config, needs: Sequence[str] = ()) -> None:
    """Raises UsageError if a config lacks a required key, or its ``default_scope`` is not an installed framework."""
    path, framework = cfg.filename, cfg.get('default_scope')
    if framework not in FRAMEWORKS:
        raise UsageError(f'config {path}: default_scope must be one of {", ".join(FRAMEWORKS)}, got {framework!r}')
    if find_spec(framework) is None:
        raise UsageError(f'config {path} needs {framework}, which is not installed')
    for key in [*needs, *(key for key in LOADERS if cfg.get(key))]:
        part = cfg.get(key)
        if key.endswith('_evaluator') and isinstance(part, list):
            continue
        if not isinstance(part, dict):
            raise UsageError(f'config {path}: {key} must be a dict, got {part!r}')
        if key in LOADERS and not isinstance(part.get('dataset'), dict):
            raise UsageError(f'config {path}: {key}.dataset must be a dict, got {part.get("dataset")!r}')
