"""Help of the command: what the docstring of a function says of the arguments that options set."""
import ast
import re
from argparse import ArgumentParser
from functools import cache
from inspect import cleandoc
from pathlib import Path


def with_help(parser: ArgumentParser, *functions: str) -> ArgumentParser:
    """Returns the parser with help for the options that have none.

    Args:
        parser (ArgumentParser): The parser.
        functions (str): Functions or classes with arguments of the options' names, such as
            ``measuring.flops.count_flops``; the first that documents an argument counts.

    Raises:
        StopIteration: If none documents the argument of an option.
    """
    for action in parser._actions:
        if action.help is None:
            text = next(text for name in functions if (text := arguments_of(name).get(action.dest)))
            is_named = isinstance(action.default, str) and '(default: ' not in text
            action.help = f'{text} (default: {action.default})' if is_named else text
    return parser


@cache
def arguments_of(function: str) -> dict[str, str]:
    """Returns the help texts of a function's or class's arguments, except those documented as another function's."""
    section = re.search(r'^Args:\n((?:    .*\n|\n)+)', docstring_of(function), re.MULTILINE)
    found = re.findall(r'^    (\S.*?)(?: \([^)]*\))?:((?: .*)?\n(?:     .*\n)*)', section[1] if section else '', re.M)
    return {argument: help_text(text) for names, text in found if text.split()[:2] != ['As', 'in']
            for argument in names.strip('*').split(', ')}


def docstring_of(function: str) -> str:
    """Returns a docstring from the source, because importing a module of the package takes seconds."""
    module, _, name = function.rpartition('.')
    tree = ast.parse(Path(__file__).parents[1].joinpath(f'{module.replace(".", "/")}.py').read_text(encoding='utf-8'))
    docstring, = (ast.get_docstring(node) for node in tree.body
                  if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name)
    return cleandoc(docstring or '') + '\n'


def help_text(text: str) -> str:
    """Returns the text of an argument without markup, with its default at the end, in the style of help texts."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?(\w+)`', r'\1', ' '.join(text.split()))
    text = text.replace('``', '').replace('%', '%%')
    text = re.sub(r' Defaults to (?:False|None)\.$', '', text).removeprefix('Whether to ')
    if default := re.search(r' Defaults to (?:None(?:: |, which (?:means|uses) )|\(\): )?(.+)\.$', text):
        values = re.sub(r'^\((.*?),? ?\)$', r'\1', default[1]).strip("'")
        text = f'{text[:default.start()].removesuffix(".")} (default: {values})'
    return (text[0].lower() + text[1:] if text[:2].istitle() else text).removesuffix('.')
