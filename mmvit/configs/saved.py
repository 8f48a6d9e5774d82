"""Reads configs that nobody named, such as the one beside a checkpoint, and runs nothing that their author chose.

Such a file is only values. MMEngine calls any function that can be imported, if ``type`` has its name, so that all
names must be of registered classes. What these classes would run themselves is refused.
"""
import ast
import os.path as osp
import sys
import sysconfig
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmengine.registry import INFERENCERS, Registry

import mmvit_backbones
from mmvit_backbones.errors import first_line
from mmvit_backbones.utils.literals import Literals

from ..utils.frameworks import FRAMEWORKS, import_quietly, quiet

# Keys whose values MMEngine and the frameworks look up in a registry.
NAMING = {'type', 'runner_type', 'constructor', 'strategy', 'norm_layer', 'auto_wrap_policy', 'param_init_fn',
          'check_fn'}
# Values of ``type`` that OpenMMLab's classes understand themselves, besides the names in mmcv.ops.
WORDS = {'DW', 'GF', 'conv', 'dilation', 'interpolation_conv', 'last_conv', 'log_trace', 'norm', 'offset', 'tb_trace',
         'value'}
# Weights to start from, in place of which those of the checkpoint are loaded.
START = {'init_cfg', 'pretrained', 'pretrained_cfg_overlay', 'load_from', 'resume'}
# Files that MMEngine, PyTorch and NumPy may run.
CODE = '.py', '.pkl', '.pickle', '.yaml', '.yml', '.pth', '.pt', '.bin', '.ckpt', '.np', '.npy', '.npz'
PACKAGES = sysconfig.get_path('purelib'), sysconfig.get_path('platlib'), osp.dirname(mmvit_backbones.__file__)


def read_once(file: Path) -> str:
    """Returns the text of a file, which a command reads again only if it was changed."""
    return read_at(file, file.stat().st_mtime_ns)


@cache
def read_at(file: Path, time: int) -> str:  # another time, another content
    return file.read_text(encoding='utf-8-sig')


def values_of(file: Path) -> dict[str, Any]:
    """Returns what a Python file assigns, if it only assigns values, as the configs that MMEngine writes.

    Raises:
        ValueError: If there is anything else in the file; the message has the line.
    """
    try:
        statements = ast.parse(read_once(file)).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f'cannot be read: {first_line(error)}') from error
    found: dict[str, Any] = {}
    for statement in statements:
        try:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name != '_base_':
                    literal = Literals().visit(value)
                    found[name] = ast.literal_eval(literal)
                    check_keys(literal)
                case _:
                    raise ValueError
        except (TypeError, ValueError, RecursionError, MemoryError) as error:  # a key that is a list is a TypeError
            raise ValueError(f'has more than values in line {statement.lineno}') from error
    return found


def check_keys(literal: ast.AST) -> None:
    """Raises ValueError for a key with quotes, which MMEngine would write as they are: into a file that may run."""
    keys = [key for each in ast.walk(literal) if isinstance(each, ast.Dict) for key in each.keys if key]
    for key in map(ast.literal_eval, keys):
        if not (isinstance(key, int) or isinstance(key, str) and not set(key) & set('\'"\\\n\r')):
            raise ValueError


def read_saved_config(file: Path, values: dict[str, Any]) -> Config:
    """Returns the config in a file of values (:func:`values_of`) that nobody named, without weights to start from.

    The modules in ``custom_imports`` are imported, as MMEngine does for other configs.

    Raises:
        ValueError: If the values name what is not a registered class, a module that is
            not of the user's environment, a URL, or a file that may run.
    """
    described = {'recipe': values['recipe']} if 'recipe' in values else {}  # of which nothing is built
    settings = {**without_start(values), **described}
    scope = settings.get('default_scope')
    try:
        if isinstance(scope, str) and scope in FRAMEWORKS and find_spec(scope):
            with quiet():
                import_custom(settings.get('custom_imports') or {}, file.parent)
                import_quietly(scope)
                names_of(scope)
                settings = {**with_classes(settings, file.parent), **described}
                check({key: value for key, value in settings.items() if key not in described})
        return Config(settings, cfg_text=read_once(file), filename=str(file))
    except (ImportError, KeyError) as error:  # of a framework; a key that MMEngine uses itself
        raise ValueError(f'cannot be used: {first_line(error)}') from error


def without_start(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(without_start, value))
    if isinstance(value, dict):
        return {key: None if key in START else without_start(each) for key, each in value.items()}
    return value


def with_classes(value: Any, folder: Path, key: Any = '') -> Any:
    """Returns a value with registered classes for their full paths, which MMEngine writes for pure Python configs.

    Imports the modules of types as those of ``custom_imports``.
    """
    if isinstance(value, dict):
        return {name: with_classes(each, folder, name) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(with_classes(each, folder, key) for each in value)
    module, _, name = value.rpartition('.') if isinstance(value, str) else ('', '', '')
    if module and key in NAMING:
        with suppress(Exception):  # a module can raise any exception; its class is then no registered one
            if is_of_environment(module, folder):
                import_module(module)
    found = vars(sys.modules[module]).get(name) if sys.modules.get(module) else None
    return LazyObject(module, name) if found is not None and is_class(found) else value


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
    """Returns whether a name, alone or as in ``mmdet.NAME``, is of a class in a registry that has been imported."""
    scope, _, rest = name.partition('.')
    if rest:
        return rest in names_of(scope)
    # MMEngine imports a module of this name if the class is in another registry than it needs.
    return not find_spec(name) and (name in WORDS or name in names_of() or name in import_module('mmcv.ops').__all__)


def names_of(scope: str | None = None) -> set[str]:
    """Returns the names in :func:`registries_of` a package, such as mmdet, or of all packages."""
    return {name for registry in registries_of(scope) for name in registry.module_dict}


def is_class(found: Any) -> bool:
    """Returns whether an object is a registered class, or an operator of mmcv, which its layers find by name."""
    operators = import_module('mmcv.ops')
    known = [each for registry in registries_of() for each in registry.module_dict.values()]
    return any(found is each for each in (*known, *map(vars(operators).get, operators.__all__)))


def registries_of(scope: str | None = None) -> list[Registry]:
    """Returns the registries of a package, such as mmdet, or of all packages that have been imported.

    Programs for inference are left out, as their classes read configs.
    """
    if scope in FRAMEWORKS and find_spec(scope):
        import_module(f'{scope}.registry')
    modules = [module for name, module in sys.modules.items() if name.endswith('.registry') and module]
    found = [each for module in modules for each in vars(module).values()
             if isinstance(each, Registry) and each.name != INFERENCERS.name]
    if scope is not None:  # MMEngine imports the package and its registry
        found = [each for each in found if each.scope == scope and f'{scope}.registry' in sys.modules]
        for registry in found:
            registry.import_from_location()
    return found


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
            if is_of_environment(name, folder):
                import_module(name)
            elif not custom.get('allow_failed_imports'):
                raise ValueError('it cannot be found; set PYTHONPATH to its folder')
        except Exception as error:  # a module can raise any exception
            raise ValueError(f'imports {name!r}, which fails: {first_line(error)}') from error


def is_of_environment(name: str, folder: Path) -> bool:
    """Returns whether there is a module; imports the packages around it.

    Raises:
        ValueError: If the module, or a package of it, is of the standard library, a program, or in the folder.
    """
    parts = name.split('.')
    if parts[0] in {*sys.stdlib_module_names, 'test'} or '__main__' in parts or not all(map(str.isidentifier, parts)):
        raise ValueError('it is no module, a program, or of the standard library')
    for count in range(1, len(parts) + 1):
        path = '.'.join(parts[:count])
        if sys.modules.get(path):  # has run
            continue
        spec = find_spec(path)
        if spec is None:
            return False
        if any(is_inside(folder, place) for place in [spec.origin, *(spec.submodule_search_locations or ())] if place):
            raise ValueError(f'{path} is in the folder of the file')
    return True


def is_inside(folder: Path, place: str) -> bool:
    """Returns whether a file or a folder is in another folder, without the user's packages there."""
    paths = Path(osp.abspath(place)), Path(osp.realpath(place))
    folders = osp.abspath(folder), osp.realpath(folder)
    return any(path.is_relative_to(each) for path in paths for each in folders) and not any(
        path.is_relative_to(each) for path in paths for each in PACKAGES)
