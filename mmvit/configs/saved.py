"""Reads configs that nobody named, such as the one inside a checkpoint, and runs nothing that their author chose.

Such a config is only values. MMEngine calls any function that can be imported, if ``type`` has its name, so that all
names must be of registered classes. What these classes would run themselves is refused.
"""
import os.path as osp
import sys
import sysconfig
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import INFERENCERS, Registry

import mmvit_backbones
from mmvit_backbones.errors import first_line

from ..frameworks.building import FRAMEWORKS, import_quietly, is_installed
from ..utils.faults import quiet

# Keys whose values MMEngine and the frameworks look up in a registry.
NAMING = {'type', 'runner_type', 'constructor', 'strategy', 'norm_layer', 'auto_wrap_policy', 'param_init_fn',
          'check_fn'}
# Values of ``type`` that OpenMMLab's classes understand themselves, besides the names in mmcv.ops.
WORDS = {'DW', 'GF', 'conv', 'dilation', 'interpolation_conv', 'last_conv', 'log_trace', 'norm', 'offset', 'tb_trace',
         'value'}
# Weights to start from, in place of which those of the checkpoint are loaded.
INITIAL = {'init_cfg', 'pretrained', 'pretrained_cfg_overlay', 'load_from', 'resume'}
# Files that MMEngine, PyTorch and NumPy may run.
CODE = '.py', '.pkl', '.pickle', '.yaml', '.yml', '.pth', '.pt', '.bin', '.ckpt', '.np', '.npy', '.npz'
PACKAGES = sysconfig.get_path('purelib'), sysconfig.get_path('platlib'), osp.dirname(mmvit_backbones.__file__)


def read_saved_config(file: Path, text: str, values: dict[str, Any], keeps_start: bool = False) -> Config:
    """Returns the config of values (:func:`.read_values`) that nobody named, without weights to start from.

    The modules in ``custom_imports`` are imported, as MMEngine does for other configs. With ``keeps_start``, the model
    names its weights; who builds it leaves them out (:func:`without_start`).

    Raises:
        ValueError: If the values name what is not a registered class, a module that is
            not of the user's environment, a URL, or a file that may run.
    """
    settings = without_start(values)
    scope = settings.get('default_scope')
    try:
        if is_installed(scope):
            if scope not in FRAMEWORKS:
                check_place(scope, file.parent)
            with quiet():
                import_custom(settings.get('custom_imports') or {}, file.parent)
                import_quietly(scope)
                names_of(scope)
                check(settings)
        if keeps_start and 'model' in values:
            settings['model'] = values['model']
        return Config(settings, cfg_text=text, filename=str(file))
    except (ImportError, KeyError) as error:  # of a framework; a key that MMEngine uses itself
        raise ValueError(f'cannot be used: {first_line(error)}') from error


def without_start(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(without_start, value))
    if isinstance(value, dict):
        return {key: None if key in INITIAL else without_start(each) for key, each in value.items()}
    return value


# ---- values


def check(value: Any, where: str = '', key: Any = '') -> None:
    """Raises ValueError unless a value at the place ``where``, and all in it, can be built without a risk.

    Elements of a list have its ``key``.
    """
    if isinstance(value, dict):
        for name, each in value.items():
            check(each, f'{where}.{name}'.lstrip('.'), name)
    elif isinstance(value, (list, tuple, set)):
        for number, each in enumerate(value):
            check(each, f'{where}.{number}', key)
    elif reason := risk_of(where, key, value):
        raise ValueError(f'has {where}={value!r}, which {reason}')


def risk_of(where: str, key: Any, value: Any) -> str | None:
    """Returns why a value must not be built, or None."""
    if key == 'trust_remote_code' and value:
        return 'runs code from elsewhere'
    if not isinstance(value, str):
        return None
    if key == '_scope_':
        return None if names_of(value) else 'is no package of OpenMMLab'
    if key in NAMING:
        return None if is_registered(value) else 'is no registered class'
    if where == key:  # a variable of the file
        return None
    if '://' in value:
        return 'is a URL'
    # Transforms and trackers evaluate the first two.
    if key in ('dtype', 'warp_mode') and not value.isidentifier() or key == 'decode_backend' and value == 'pickle':
        return 'may be run'
    if key == 'teacher_config' or key != 'filename_tmpl' and value.lower().endswith(CODE):
        return 'is a file that may be run'
    return None


# ---- registered classes


def is_registered(name: str) -> bool:
    """Returns whether a name is of a class in a registry that has been imported.

    It is that of the registry, as in ``mmdet.NAME``, too; or that of the module, as configs in MMEngine's Python style
    write it.
    """
    scope, _, rest = name.partition('.')
    if rest:
        module, _, attribute = name.rpartition('.')
        found = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
        return rest in names_of(scope) or any(found is each for registry in registries()
                                              for each in registry.module_dict.values())
    # MMEngine imports a module of this name if the class is in another registry than it needs.
    return not find_spec(name) and (name in WORDS or name in names_of() or name in import_module('mmcv.ops').__all__)


def names_of(scope: str | None = None) -> set[str]:
    """Returns the names in the registries of a package, such as mmdet, or of all packages that have been imported.

    Programs for inference are left out, as their classes read configs.
    """
    if scope in FRAMEWORKS and find_spec(scope):
        import_module(f'{scope}.registry')
    found = registries()
    if scope is not None:  # MMEngine imports the package and its registry
        found = [each for each in found if each.scope == scope and f'{scope}.registry' in sys.modules]
        for registry in found:
            registry.import_from_location()
    return {name for registry in found for name in registry.module_dict}


def registries() -> list[Registry]:
    """Returns the registries that have been imported, but those of inferencers."""
    modules = [module for name, module in sys.modules.items() if name.endswith('.registry') and module]
    return [each for module in modules for each in vars(module).values()
            if isinstance(each, Registry) and each.name != INFERENCERS.name]


# ---- modules of the user's environment


def import_custom(custom: Any, folder: Path) -> None:
    """Imports the modules of ``custom_imports``, which must not be in the folder of the config.

    Raises:
        ValueError: If there are no such modules, they are not of the user's environment, or cannot be imported.
    """
    names = custom.get('imports') or [] if isinstance(custom, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'has custom_imports={custom!r}, which names no modules')
    for name in names:
        try:
            check_place(name, folder)
            import_module(name)
        except Exception as error:  # a module can raise any exception
            if not (custom.get('allow_failed_imports') and isinstance(error, ModuleNotFoundError)):
                raise ValueError(f'imports {name!r}, which fails: {first_line(error)}') from error


def check_place(name: str, folder: Path) -> None:
    """Raises an error if a module is of the standard library, a program, missing, or in the folder."""
    first, *others = name.split('.')
    if first in {*sys.stdlib_module_names, 'test'} or '__main__' in (first, *others) or not first.isidentifier():
        raise ValueError('it is no module, a program, or of the standard library')
    spec = find_spec(first)
    if spec is None:
        raise ModuleNotFoundError('it cannot be found; set PYTHONPATH to its folder')
    if any(is_inside(folder, place) for place in [spec.origin, *(spec.submodule_search_locations or ())] if place):
        raise ValueError(f'{first} is in the folder of the file')


def is_inside(folder: Path, place: str) -> bool:
    """Returns whether a file or a folder is in another folder, without the user's packages there."""
    paths = Path(osp.abspath(place)), Path(osp.realpath(place))
    folders = osp.abspath(folder), osp.realpath(folder)
    return any(path.is_relative_to(each) for path in paths for each in folders) and not any(
        path.is_relative_to(each) for path in paths for each in PACKAGES)
