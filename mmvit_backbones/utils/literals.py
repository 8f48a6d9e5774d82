"""Reads the values in configs that MMEngine wrote, and runs nothing."""
import ast
from contextlib import suppress
from typing import Any


class Literals(ast.NodeTransformer):
    """Replaces what MMEngine writes of values by literals: ``dict(a=1)``, ``dict({1: 2})``, ``inf`` and ``nan``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        match self.generic_visit(node):
            case ast.Call(func=ast.Name(id='dict'), args=[], keywords=words):
                return ast.Dict([ast.Constant(word.arg) for word in words], [word.value for word in words])
            case ast.Call(func=ast.Name(id='dict'), args=[ast.Dict() as mapping], keywords=[]):
                return mapping
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ('inf', 'nan') else node


def read_values(text: str | bytes) -> tuple[dict[str, Any], int | None]:
    """Returns the values that the text of a config assigns, and the first line that has something else, if one has.

    That is also a name of a base file, and a key with quotes, which MMEngine would write as it is into another config.
    """
    found, other = {}, None
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {}, getattr(error, 'lineno', None) or 1
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name != '_base_':
                with suppress(TypeError, ValueError, RecursionError, MemoryError):  # a list as a key is a TypeError
                    literal = Literals().visit(value)
                    if has_plain_keys(literal):
                        found[name] = ast.literal_eval(literal)
                        continue
        other = other or statement.lineno
    return found, other


def has_plain_keys(tree: ast.AST) -> bool:
    """Returns whether all keys of the dicts in a literal are integers, or text without quotes and line breaks."""
    keys = [ast.literal_eval(key) for each in ast.walk(tree) if isinstance(each, ast.Dict) for key in each.keys if key]
    return all(isinstance(key, int) or isinstance(key, str) and not set(key) & set('\'"\\\n\r') for key in keys)
