"""Extension of mkdocstrings that converts docstrings to Markdown with griffe's sections."""
import re

import griffe


class Docstrings(griffe.Extension):

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring is not None:
            text = re.sub(r':\w+:`([^`]+)`', r'`\1`', obj.docstring.value)  # :class:`Backbone`
            text = re.sub(r'::$', ':', text, flags=re.MULTILINE)
            text = re.sub(r'(?<=Paper: )(arXiv [\d.]+, .+)\.$', r'[\1](../papers.md).  ', text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r'^Example:$', 'Examples:', text, flags=re.MULTILINE)
