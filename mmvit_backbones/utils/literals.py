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


def values_in(text: object) -> dict[str, Any]:
    """Returns the values that the text of a config assigns; without a text or where it does more, those that it can."""
    try:
        statements = ast.parse(text).body if isinstance(text, str) else []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found = {}
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                with suppress(TypeError, ValueError, RecursionError, MemoryError):
                    found[name] = ast.literal_eval(Literals().visit(value))
    return found
