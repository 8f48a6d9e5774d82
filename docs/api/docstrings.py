"""Extension of mkdocstrings that converts docstrings to Markdown with griffe's sections."""
import ast
import re
import runpy
from pathlib import Path

import griffe

PACKAGE = Path(__file__).parents[2] / 'mmvit_backbones'
BASE = (PACKAGE / 'backbones/base.py').read_text(encoding='utf-8')
with_arguments_of = runpy.run_path(str(PACKAGE / 'utils/argument_docs.py'))['with_arguments_of']
BACKBONE, = (ast.get_docstring(node) for node in ast.parse(BASE).body
             if isinstance(node, ast.ClassDef) and node.name == 'Backbone')


class Docstrings(griffe.Extension):

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring is not None:
            text = with_arguments_of('Backbone', BACKBONE, obj.docstring.value)
            text = re.sub(r':\w+:`([^`]+)`', r'`\1`', text)  # :class:`Backbone`
            text = re.sub(r'::$', ':', text, flags=re.MULTILINE)
            text = re.sub(r'(?<=Paper: )(arXiv [\d.]+, .+)\.$', r'[\1](../papers.md).  ', text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r'^Example:$', 'Examples:', text, flags=re.MULTILINE)
