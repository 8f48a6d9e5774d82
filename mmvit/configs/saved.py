"""Reads configs that nobody named, such as the one beside a checkpoint, and runs nothing that their author chose.

Such a file is only values. MMEngine calls any function that can be imported, if ``type`` has its name, so that all
names must be of registered classes. What these classes would run themselves is refused.
"""
import ast
import os.path as osp
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.registry import INFERENCERS, Registry

import mmvit_backbones
from mmvit_backbones.errors import first_line

from ..utils.frameworks import FRAMEWORKS, import_quietly, quiet

# Keys whose values MMEngine and the frameworks look up in a registry.
NAMING = {'type', 'runner_type', 'constructor', 'strategy', 'norm_layer', 'auto_wrap_policy', 'param_init_fn',
          'check_fn'}
# Values of ``type`` that OpenMMLab's classes understand themselves, besides the names in mmcv.ops.
WORDS = {'DW', 'GF', 'conv', 'dilation', 'interpolation_conv', 'last_conv', 'log_trace', 'norm', 'offset', 'tb_trace',
         'value'}
ALBUMENTATIONS = 'Albu', 'Albumentations'  # have transforms whose names are those of the package albumentations
# Weights to start from, in place of which those of the checkpoint are loaded.
START = {'init_cfg', 'pretrained'}
# Files that MMEngine, PyTorch and NumPy may run.
CODE = '.py', '.pkl', '.pickle', '.yaml', '.yml', '.pth', '.pt', '.bin', '.ckpt', '.np', '.npy', '.npz'
EVALUATED = {'dtype', 'warp_mode'}  # arguments of transforms and trackers
STANDARD = {*sys.stdlib_module_names, 'test'}
PACKAGES = sysconfig.get_path('purelib'), sysconfig.get_path('platlib'), osp.dirname(mmvit_backbones.__file__)


def values_of(file: Path) -> dict[str, Any]:
    """Returns what a Python file assigns, if it only assigns values, as the configs that MMEngine writes.

    Raises:
        ValueError: If there is anything else in the file; the message has the line.
    """
    try:
        statements = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f'cannot be read: {first_line(error)}') from error
    found: dict[str, Any] = {}
    for statement in statements:
        try:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name != '_base_':
                    found[name] = _value_of(value)
                case _:
                    raise ValueError
        except (TypeError, ValueError, RecursionError) as error:  # a key that is a list is a TypeError
            raise ValueError(f'has more than values in line {statement.lineno}') from error
    return found


def _value_of(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value) if value is not ...:
            return value
        case ast.Name(id='inf' | 'nan' as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _value_of(operand)
            if type(number) in (int, float, complex):
                return -number if isinstance(sign, ast.USub) else number
        case ast.Tuple(elts=elements):
            return tuple(map(_value_of, elements))
        case ast.List(elts=elements):
            return list(map(_value_of, elements))
        case ast.Set(elts=elements):
            return set(map(_value_of, elements))
        case ast.Call(func=ast.Name(id='set'), args=[], keywords=[]):
            return set()
        case ast.Dict(keys=keys, values=values):
            return {_key_of(key): _value_of(value) for key, value in zip(keys, values)}
        case ast.Call(func=ast.Name(id='dict'), args=[] | [ast.Dict()] as first, keywords=words):
            if all(word.arg for word in words):
                return {**(_value_of(first[0]) if first else {}), **{word.arg: _value_of(word.value) for word in words}}
    raise ValueError


def _key_of(node: ast.expr | None) -> Any:
    """Returns a key of a dict, without quotes, which MMEngine would write as they are: into a file that may run."""
    key = None if node is None else _value_of(node)  # None: a dict that is unpacked
    if isinstance(key, str) and not set(key) & set('\'"\\\n\r') or isinstance(key, int):
        return key
    raise ValueError


def read_saved_config(file: Path) -> Config:
    """Returns the config in a file of values that nobody named, without weights to start from.

    The modules in ``custom_imports`` are imported, as MMEngine does for other configs.

    Raises:
        ValueError: If the file has more than values; or if they name what is not a registered class, a module that is
            not of the user's environment, a URL, or a file that may run.
    """
    settings = _without_start(values_of(file))
    scope = settings.get('default_scope')
    if isinstance(scope, str) and scope in FRAMEWORKS and find_spec(scope):
        names = Names(file.parent)
        names.import_custom(settings.get('custom_imports'))
        import_quietly(scope)
        names.registries_of(scope)
        names.check({key: value for key, value in settings.items() if key != 'recipe'})  # only describes the training
    try:
        return Config(settings, filename=str(file))
    except KeyError as error:  # a key that MMEngine uses itself
        raise ValueError(f'has a key that no config can have: {error}') from error


def _without_start(settings: dict[str, Any]) -> dict[str, Any]:
    def pruned(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(map(pruned, value))
        if isinstance(value, dict):
            return {key: None if key in START else pruned(each) for key, each in value.items()}
        return value
    return {key: value for key, value in pruned(settings).items() if key not in ('load_from', 'resume')}


class ForbiddenError(ValueError):
    """Raised for the name of a module that is not of the user's environment."""


class Names:
    """Possible meanings of the names in a config that came with the other files in its ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folders = osp.abspath(folder), osp.realpath(folder)
        self.registered: set[str] = set()  # names that were checked

    def check(self, value: Any, where: str = '', key: Any = '', of_albumentations: bool = False) -> None:
        """Raises ValueError unless a value at the place ``where``, and all in it, can be built without a risk.

        Elements of a list have its ``key``. With ``of_albumentations``, types are transforms of this package.
        """
        if isinstance(value, Mapping):
            for name, each in value.items():
                inside = of_albumentations or name != 'type' and value.get('type') in ALBUMENTATIONS
                self.check(each, f'{where}.{name}'.lstrip('.'), name, inside)
        elif isinstance(value, (list, tuple, set)):
            for number, each in enumerate(value):
                self.check(each, f'{where}.{number}', key, of_albumentations)
        else:
            try:
                self._check_value(where, key, value, of_albumentations)
            except ValueError as error:
                raise ValueError(f'has {where}={value!r}, which {error}') from error

    def _check_value(self, where: str, key: Any, value: Any, of_albumentations: bool) -> None:
        if key == 'trust_remote_code' and value:
            raise ValueError('runs code from elsewhere')
        if not isinstance(value, str):
            return
        if key == '_scope_':
            if not self.registries_of(value):
                raise ValueError('is no package of OpenMMLab')
        elif key in NAMING:
            if of_albumentations and value.isidentifier() or value in self.registered:
                return
            if not self.is_registered(value):
                raise ValueError('is no registered class')
            self.registered.add(value)
        elif where == key:  # a variable of the file
            return
        elif '://' in value:
            raise ValueError('is a URL')
        elif key in EVALUATED and not value.isidentifier() or key == 'decode_backend' and value == 'pickle':
            raise ValueError('may be run')
        elif key == 'teacher_config' or key != 'filename_tmpl' and value.lower().endswith(CODE):
            raise ValueError('is a file that may be run')

    # ---- registered classes

    def is_registered(self, name: str) -> bool:
        """Returns whether MMEngine finds a registered class by a name; raises ValueError if it would import others."""
        scope, _, rest = name.partition('.')
        if not rest:
            self.find(name)  # which MMEngine imports if the name is in another registry than it needs
            return name in WORDS or any(name in each.module_dict for each in registries()) or name in operators()
        if any(rest in registry.module_dict for registry in self.registries_of(scope)):
            return True
        found = self._object_of(name)
        return found is not None and any(found is each for registry in registries()
                                         for each in registry.module_dict.values())

    def registries_of(self, scope: str) -> list[Registry]:
        """Returns the registries of a package such as mmdet, which is imported, as MMEngine does for ``mmdet.NAME``.

        Raises:
            ValueError: If the package is not of the user's environment, or cannot be imported.
        """
        with quiet():
            self.import_module(f'{scope}.registry')
            found = [registry for registry in registries() if registry.scope == scope]
            for registry in found:
                try:
                    registry.import_from_location()
                except ImportError as error:
                    raise ValueError(f'needs {scope}, which cannot be imported: {first_line(error)}') from error
        return found

    def _object_of(self, name: str) -> Any:
        """Returns the object with a dotted name, or None."""
        path, *parts = name.split('.')
        module = self.import_module(path)
        for number, part in enumerate(parts, 1):
            found = vars(module).get(part) if module else None
            if found is not None and not isinstance(found, ModuleType):
                return found if number == len(parts) else None
            path = f'{path}.{part}'
            module = self.import_module(path)
        return None

    # ---- modules of the user's environment

    def import_custom(self, custom_imports: Any) -> None:
        """Imports the modules of ``custom_imports``.

        Raises:
            ValueError: If there are no such modules, or they are not of the user's environment.
        """
        custom = custom_imports or {}
        names = custom.get('imports') or [] if isinstance(custom, Mapping) else None
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise ValueError(f'has custom_imports={custom_imports!r}, which names no modules')
        for name in names:
            try:
                if not self.import_module(name) and not custom.get('allow_failed_imports'):
                    raise ValueError('cannot be found; set PYTHONPATH to its folder')
            except ValueError as error:
                raise ValueError(f'imports {name!r}, which {error}') from error

    def import_module(self, name: str) -> ModuleType | None:
        """Imports a module of the user's environment and returns it, or returns None if there is none.

        Raises:
            ValueError: If the module, or a package of it, is of the standard library or in the folder, or if it
                cannot be imported.
        """
        try:
            with quiet():
                return import_module(name) if self.find(name) else None
        except ForbiddenError:
            raise
        except Exception as error:  # a module can raise any exception
            raise ValueError(f'cannot be imported: {first_line(error)}') from error

    def find(self, name: str) -> bool:
        """Returns whether there is a module; imports the packages around it. Raises as :meth:`import_module`."""
        parts = name.split('.')
        if not all(map(str.isidentifier, parts)):
            return False
        if parts[0] in STANDARD or '__main__' in parts:
            raise ForbiddenError('is of the standard library' if parts[0] in STANDARD else 'is a program')
        for count in range(1, len(parts) + 1):
            path = '.'.join(parts[:count])
            if sys.modules.get(path):  # has run
                continue
            try:
                spec = find_spec(path)
            except ModuleNotFoundError:  # a module in place of a package
                return False
            if spec is None:
                return False
            if any(map(self._is_inside, [spec.origin, *(spec.submodule_search_locations or ())])):
                raise ForbiddenError(f'is the module {path} in the folder of the file')
        return True

    def _is_inside(self, place: str | None) -> bool:
        """Returns whether a file or a folder is in the folder, without the user's packages there."""
        paths = {Path(osp.abspath(place)), Path(osp.realpath(place))} if place else set()
        return any(path.is_relative_to(folder) for path in paths for folder in self.folders) and not any(
            path.is_relative_to(folder) for path in paths for folder in PACKAGES)


def registries() -> list[Registry]:
    """Returns the registries in the modules ``registry`` of MMEngine and other packages.

    That of programs for inference is left out, as their classes read configs.
    """
    modules = [module for name, module in sys.modules.items() if name.endswith('.registry') and module]
    found = {id(each): each for module in modules for each in vars(module).values() if isinstance(each, Registry)}
    return [registry for registry in found.values() if registry.name != INFERENCERS.name]


@cache
def operators() -> list[str]:
    """Returns the names in mmcv.ops, which some types are: those of non-maximum suppression and of pooling."""
    with suppress(ImportError):
        return import_module('mmcv.ops').__all__
    return []
