"""Handles configs in untrusted files, such as checkpoints: configs are parsed but never executed."""
import ast
import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module

FRAMEWORKS = ('mmdet', 'mmseg', 'mmpretrain')
MAX_TEXT = 2**20  # characters; Python's parser takes hundreds of bytes of memory per character


def parse_config(text: str) -> dict:
    """Parses a config in MMEngine's text format without executing it; raises ValueError for any other text."""
    config = {}
    try:
        if len(text) > MAX_TEXT:
            raise ValueError(f'the config has {len(text)} characters; the maximum is {MAX_TEXT}')
        for line in ast.parse(text).body:
            if not isinstance(line, ast.Assign) or len(line.targets) > 1 or not isinstance(line.targets[0], ast.Name):
                raise ValueError(f'line {line.lineno} of the config must have the form NAME = VALUE')
            config[line.targets[0].id] = ast.literal_eval(_Literals().visit(line.value))
    except (AttributeError, IndexError, MemoryError, RecursionError, SyntaxError, TypeError) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return config


def format_config(config: dict) -> str:
    """Returns a config as text that MMEngine can execute safely, because all values are literals.

    MMEngine's own ``pretty_text`` would not be safe, because it does not escape keys.

    Raises:
        ValueError: If the text contains a template, which MMEngine would substitute.
    """
    text = '\n'.join(f'{name} = {value!r}' for name, value in config.items())
    if '{{' in text:
        raise ValueError('the config contains a template, {{')
    return text


class _Literals(ast.NodeTransformer):
    """Replaces calls of ``dict`` and the names ``inf`` and ``nan`` with literals."""

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


def import_quietly(framework: str) -> None:
    """Imports a framework's datasets and models without printing which optional dependencies are missing."""
    with redirect_stdout(io.StringIO()):
        import_module(f'{framework}.datasets')
        import_module(f'{framework}.models')


def dicts_in(config: object) -> Iterator[dict]:
    """Yields all dicts in a config."""
    return (entry for _, entry in dicts_with_paths(config))


def dicts_with_paths(config: object, path: str = '') -> Iterator[tuple[str, dict]]:
    """Yields ``(path, dict)`` for all dicts in a config; callers may change the dicts during the iteration."""
    parts = list(enumerate(config)) if isinstance(config, (list, tuple)) else []
    if isinstance(config, dict):
        yield path, config
        parts = list(config.items())
    for key, value in parts:
        yield from dicts_with_paths(value, f'{path}{key}.')
