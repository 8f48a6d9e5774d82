"""A message names the options of the command that prints it, or the command that has them."""
import ast
import re
from argparse import SUPPRESS
from collections.abc import Iterator

import pytest
from helpers import ROOT
from subcommands import parser_of

from mmvit.cli import SUBCOMMANDS, in_options

OPTION = re.compile(r'(?<![\w-])--[a-z][\w-]*')
IN_PARENTHESES = re.compile(r'\((--[\w-]+)[^()]*\)')
COMMAND = re.compile(rf'mmvit ({"|".join(SUBCOMMANDS)})\b')
OF_OTHERS = re.compile(r'(docker run|pip install|{command}\S*) --[\w-]+')
PARSERS = {name: parser_of(name) for name in SUBCOMMANDS}
OPTIONS = {name: {option for action in parser._actions if action.help != SUPPRESS for option in action.option_strings}
           for name, parser in PARSERS.items()}
FILES = [file for package in ('mmvit', 'mmvit_backbones') for file in (ROOT / package).rglob('*.py')
         if 'cli' not in file.parts and 'add_argument(' not in file.read_text(encoding='utf-8')]  # no own options


def texts(tree: ast.AST) -> Iterator[str]:
    """Yields texts of more than a word, but no docstrings."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in inner:
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            text = ''.join(str(part.value) if isinstance(part, ast.Constant) else ast.unparse(part) for part in parts)
            if ' ' in text:
                yield text


@pytest.mark.parametrize('file', FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_an_option_is_in_parentheses_or_has_its_command(file):
    for text in texts(ast.parse(file.read_text(encoding='utf-8'))):
        text = OF_OTHERS.sub('', text)
        if 'mmvit_backbones' not in file.parts:  # what it says is also printed by scripts of the frameworks
            assert {*IN_PARENTHESES.findall(text)} <= set().union(*OPTIONS.values()), text
            text = IN_PARENTHESES.sub('', text)
        before, *parts = COMMAND.split(text)
        assert not OPTION.findall(before), text
        for command, rest in zip(parts[::2], parts[1::2]):
            assert {*OPTION.findall(rest)} <= {*OPTIONS[command], '--help'}, text


@pytest.mark.parametrize('name', SUBCOMMANDS)
def test_options_that_the_command_lacks_are_left_out(name):
    for option in set().union(*OPTIONS.values()):
        shown = in_options(f'a smaller batch ({option} 2) needs less', PARSERS[name])
        assert (option in shown) == (option in OPTIONS[name])
