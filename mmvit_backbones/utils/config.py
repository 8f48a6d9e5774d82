"""Loads and checks configs."""
import inspect
import os.path as osp
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.runner import Runner

from ..errors import UsageError, first_line
from .file_configs import FRAMEWORKS, check_config, parse_config

TUPLE = '_tuple_'
MMENGINE_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
SPLITS = ('train', 'val', 'test')
LOADERS = tuple(f'{split}_dataloader' for split in SPLITS)

# What mmengine reads from the config in addition to the arguments of the runner.
_OTHER_KEYS = {
    'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters',
    'model_wrapper_cfg', 'sync_bn', 'tta_model', 'tta_pipeline'
}


def load_config(path: str, options: dict | None = None, needs: Sequence[str] = (),
                complete: Callable[[Config], None] | None = None) -> Config:
    """Loads a config file, checks that it has the keys ``needs``, and applies ``options`` ``{'a.b.c': value}``.

    ``complete`` changes the config before the options, which must exist in it.
    """
    if not osp.isfile(path):
        raise UsageError(f'config {path} does not exist')
    try:
        cfg = Config.fromfile(path)
    # A config is a program: it can fail in any way.
    except Exception as error:
        raise UsageError(f'config {path} cannot be read: {first_line(error)}') from error
    if not path.endswith('.py'):  # json and yaml have no tuples
        cfg = Config(restore_tuples(cfg.to_dict()), filename=cfg.filename)
    _check(cfg, path, needs)
    if complete is not None:
        complete(cfg)
    for key in options or {}:
        _check_option(cfg, key)
    cfg.merge_from_dict(options or {})
    for key in LOADERS:
        if cfg.get(key) and cfg[key].get('num_workers') == 0:  # an option changes this alone, which torch refuses
            cfg[key].persistent_workers = False
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in MMENGINE_HOOKS]:
        hooks.pop(name)  # mmengine allows None for its own alone
    return cfg


def config_of_checkpoint(checkpoint: dict, path: str) -> Config:
    """Returns the config in a checkpoint of a training, parsed without executing it."""
    text = checkpoint.get('meta', {}).get('cfg')
    if not isinstance(text, str):
        raise UsageError(f'checkpoint {path} contains no config of a training: give a config')
    try:
        config = parse_config(text)
        check_config(config)
    except ValueError as error:
        raise UsageError(f'the config in checkpoint {path} cannot be read ({error}): give a config') from error
    cfg = Config(config)
    _check(cfg, path)
    return cfg


def mark_tuples(node):
    """Marks the tuples in a config for formats without tuples; :func:`restore_tuples` restores them."""
    if isinstance(node, dict):
        return {key: mark_tuples(value) for key, value in node.items()}
    if isinstance(node, tuple):
        return {TUPLE: [mark_tuples(value) for value in node]}
    return [mark_tuples(value) for value in node] if isinstance(node, list) else node


def restore_tuples(node):
    if isinstance(node, dict):
        if node.keys() == {TUPLE}:
            return tuple(restore_tuples(value) for value in node[TUPLE])
        return {key: restore_tuples(value) for key, value in node.items()}
    return [restore_tuples(value) for value in node] if isinstance(node, list) else node


def leaf_datasets(dataset: dict) -> list[dict]:
    """Returns the data sets in a data set config, without wrappers such as RepeatDataset and ConcatDataset."""
    if 'datasets' in dataset:
        return [leaf for part in dataset['datasets'] for leaf in leaf_datasets(part)]
    if 'dataset' in dataset:
        return leaf_datasets(dataset['dataset'])
    return [dataset]


def datasets_of(cfg: Config, split: str) -> list[dict]:
    """Returns the data sets of 'train', 'val' or 'test', without wrappers; empty if the config lacks the split."""
    loader = cfg.get(f'{split}_dataloader')
    return leaf_datasets(loader['dataset']) if loader else []


def metrics_of(cfg: Config, split: str) -> list[dict]:
    """Returns the evaluators of 'train', 'val' or 'test'."""
    metrics = cfg.get(f'{split}_evaluator') or []
    return metrics if isinstance(metrics, list) else [metrics]


def _check(cfg: Config, path: str, needs: Sequence[str] = ()) -> None:
    """Raises UsageError if a config lacks required keys; adds the ``collate_fn`` that mmpretrain leaves to scripts."""
    framework = cfg.get('default_scope')
    if framework not in FRAMEWORKS:
        raise UsageError(f'config {path} has default_scope={framework!r}; allowed are {", ".join(FRAMEWORKS)}')
    if find_spec(framework) is None:
        raise UsageError(f'config {path} needs {framework}, which is not installed')
    for key in [*needs, *(key for key in LOADERS if cfg.get(key))]:
        part = cfg.get(key)
        if not isinstance(part, dict) and not (key.endswith('_evaluator') and isinstance(part, list)):
            raise UsageError(f'config {path} must have a dict {key}, got {part!r}')
        if key in LOADERS:
            if not isinstance(part.get('dataset'), dict):
                raise UsageError(f'config {path} must have a dict {key}.dataset, got {part.get("dataset")!r}')
            if framework == 'mmpretrain':
                part.setdefault('collate_fn', dict(type='default_collate'))


def _check_option(cfg: Config, key: str) -> None:
    """Raises UsageError if an option is not in the config: mmengine would add it without effect.

    The last part of the key may be new, such as an argument that the config leaves at its default.
    """
    parts = key.split('.')
    if parts[0] not in cfg and parts[0] in {*_OTHER_KEYS, *inspect.signature(Runner.__init__).parameters}:
        return
    node = cfg.to_dict()
    for depth, part in enumerate(parts):
        name = '.'.join(parts[:depth]) or 'the config'
        is_list = isinstance(node, (list, tuple))
        if is_list:
            node = {str(index): value for index, value in enumerate(node)}
        if not isinstance(node, dict):
            raise UsageError(f'option {key}: {name} is {node!r}, it has no {part}')
        if part not in node:
            if 0 < depth == len(parts) - 1 and not is_list:
                return
            raise UsageError(f'option {key}: {name} has no {part}; it has {", ".join(sorted(node))}')
        node = node[part]
