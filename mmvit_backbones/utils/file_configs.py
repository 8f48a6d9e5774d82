"""Configs that come in files: text in a checkpoint, JSON next to weights. They are parsed and checked, never run.

MMEngine builds objects by the names in a config, and imports what a dotted name or a scope names. So a config from a
file may hold registered names alone.
"""
import ast
import io
import os.path as osp
import re
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec

from mmengine import registry as registries
from mmengine.registry import Registry

FRAMEWORKS = ('mmdet', 'mmseg', 'mmpretrain', 'mmpose')
# Modules that may be imported: those of this package and of the frameworks.
OWN_MODULE = re.compile(rf'(mmvit_backbones|{"|".join(FRAMEWORKS)})(\.[a-z]\w*)*')
# Registered classes that evaluate text in their arguments.
EVALUATE_TEXT = re.compile(r'torchvision/.*|Lambda|CameraMotionCompensation')
# mmdet and mmcv find these among operators instead of in a registry.
MMCV_OPERATORS = {'RoIAlign', 'RoIPool', 'nms', 'soft_nms'}
# Parts of a config that are built for prediction. Classes of the frameworks run or unpickle files named in them.
BUILT = re.compile(r'(model|tta_model|data_preprocessor)\.|(.*\.)?(pipeline|metainfo)\.')
FILE = re.compile(r'.*\.(bin|ckpt|json|npy|npz|onnx|pickle|pkl|pt|pth|py|safetensors|so|txt|ya?ml)|[a-z]+://.*',
                  re.IGNORECASE | re.DOTALL)
# MMEngine and data sets unpickle these, wherever they are named; yaml's loader runs what it is told, too.
UNPICKLED = re.compile(r'.*\.(pkl|pickle|ya?ml|npy|npz)', re.IGNORECASE | re.DOTALL)
# Arguments that name files or addresses, whatever their form.
FILES = ('checkpoint', 'checkpoint_path', 'ckpt_path', 'from_file', 'pretrained', 'pretrained_model_name_or_path')
# MMEngine's loader knows the schemes, and reads what is behind them safely.
SAFE_SCHEMES = ('official://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'modelzoo://')
MAX_TEXT = 2**20  # characters; Python's parser takes hundreds of bytes for each


def parse_config(text: str) -> dict:
    """Returns the values in a printed config, which is not run; raises a ValueError for any other text."""
    try:
        if len(text) > MAX_TEXT:
            raise ValueError(f'it has {len(text)} characters, more than {MAX_TEXT}')
        statements = ast.parse(text).body
        return {line.targets[0].id: ast.literal_eval(_Literals().visit(line.value)) for line in statements}
    except (AttributeError, IndexError, MemoryError, RecursionError, SyntaxError, TypeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def format_config(config: dict) -> str:
    """Returns a text that MMEngine may run: literals alone, which parse to the same values.

    Its own ``pretty_text`` does not escape keys.

    Raises:
        ValueError: If MMEngine would replace a part of the text by something else.
    """
    text = '\n'.join(f'{name} = {value!r}' for name, value in config.items())
    if '{{' in text:
        raise ValueError('it has a template, {{')
    return text


class _Literals(ast.NodeTransformer):
    """Makes literals of calls of ``dict`` with keywords or one dict, of inf and of nan."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        first = node.args[0] if len(node.args) == 1 else ast.Dict([], [])
        if (not isinstance(node.func, ast.Name) or node.func.id != 'dict' or len(node.args) > 1
                or not isinstance(first, ast.Dict) or any(word.arg is None for word in node.keywords)):
            return node
        return ast.Dict([*first.keys, *(ast.Constant(word.arg) for word in node.keywords)],
                        [*first.values, *(word.value for word in node.keywords)])

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(float(node.id)) if node.id in ('inf', 'nan') else node


def check_config(config: dict) -> None:
    """Refuses a config of a file that names anything but registered classes of installed frameworks and this package.

    Every ``type``, at any depth, has to be such a name, with or without its scope, or the full name of such a class.
    Nothing is imported but the frameworks whose scopes are named.

    Raises:
        ValueError: The message names the entry.
    """
    entries = [(path, key, value) for path, entry in dicts_with_paths(config) for key, value in entry.items()]
    scopes = {value for _, key, value in entries if key in ('default_scope', '_scope_') and isinstance(value, str)}
    scopes |= {value.partition('.')[0] for _, key, value in entries if key == 'type' and isinstance(value, str)}
    known = registered_names(scopes & set(FRAMEWORKS))
    for path, key, value in entries:
        reason = _why_refused(path, key, value, known)
        if reason is not None:
            raise ValueError(f'{path}{key}={value!r} {reason}')


def _why_refused(path: str, key: str, value: object, known: set[str]) -> str | None:
    if key == '_base_':
        return 'names a file, which is not read'
    if path == 'custom_imports.' and key == 'imports':
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not all(OWN_MODULE.fullmatch(str(name)) for name in names):
            return f'imports more than mmvit_backbones and {", ".join(FRAMEWORKS)}'
    if key in ('default_scope', '_scope_') and value not in (None, 'mmengine', 'mmcv', *FRAMEWORKS):
        return f'must be one of {", ".join(FRAMEWORKS)}'
    if key == 'type' and (not isinstance(value, str) or value not in known):
        return 'is not the name of a registered class'
    if key == 'type' and EVALUATE_TEXT.fullmatch(value.rpartition('.')[2]):
        return 'evaluates text in its arguments'
    if key == 'trust_remote_code' and value:
        return 'runs the code of a repository'
    is_built = key != 'type' and BUILT.match(path)
    for text in _texts_in(value):
        if UNPICKLED.fullmatch(text):
            return 'names a file that can hold code'
        is_file = key in FILES or is_built and (FILE.fullmatch(text) or osp.sep in text and osp.exists(text))
        if is_file and not text.startswith(SAFE_SCHEMES):
            return f'names a file or an address; allowed are {", ".join(SAFE_SCHEMES)}'
    return None


def _texts_in(value: object) -> Iterator[str]:
    """Yields a text and those in a list; dicts have paths of their own."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts_in(part)


def import_quietly(framework: str) -> None:
    """Imports a framework's data sets, without the lines on missing parts that it prints to the standard output."""
    with redirect_stdout(io.StringIO()):
        import_module(f'{framework}.datasets')


def registered_names(frameworks: Iterable[str] = ()) -> set[str]:
    """Returns the names that a config may have as ``type``: ``Name``, ``scope.Name`` and the class's full name."""
    frameworks = [name for name in frameworks if find_spec(name) is not None]
    for name in frameworks:
        import_quietly(name)
    modules = [registries, *(import_module(f'{name}.registry') for name in frameworks)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Registry)]
    for registry in found:  # the frameworks add to MMEngine's, so all are filled before any is read
        registry.import_from_location()
    names = set()
    for registry in found:
        for name, registered in registry.module_dict.items():
            names |= {name, f'{registry.scope}.{name}'}
            if isinstance(registered, type) and not EVALUATE_TEXT.fullmatch(name):
                names.add(f'{registered.__module__}.{registered.__qualname__}')
    return names | MMCV_OPERATORS


def dicts_in(config: object) -> Iterator[dict]:
    """Yields all dicts in a config."""
    return (entry for _, entry in dicts_with_paths(config))


def dicts_with_paths(config: object, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yields all dicts in a config, each after its path. They may be changed meanwhile."""
    parts = list(enumerate(config)) if isinstance(config, (list, tuple)) else []
    if isinstance(config, dict):
        yield path, config
        parts = list(config.items())
    for key, value in parts:
        yield from dicts_with_paths(value, f'{path}{key}.')
