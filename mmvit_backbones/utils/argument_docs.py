"""Docstrings that share the documentation of arguments. This file is also run where torch is not installed."""
import re
from inspect import cleandoc


def with_arguments_of(name: str, base: str | None, text: str | None) -> str | None:
    """Returns a docstring in which ``a, b: As in :class:`NAME`.`` is replaced by the documentation of the arguments.

    Args:
        name (str): Name of the class that documents the arguments.
        base (str | None): Docstring of this class; None without docstrings (``python -OO``).
        text (str | None): Docstring to complete.
    """
    if base is None or text is None:
        return text
    base, text = (cleandoc(docstring) + '\n' for docstring in (base, text))

    def documentation(reference: re.Match) -> str:
        found = [re.search(rf'^    {argument} \(.*\n(?:        .*\n)*', base, re.MULTILINE)
                 for argument in reference[1].split(', ')]
        return ''.join(argument[0] for argument in found if argument)

    return re.sub(rf'^    (\w+(?:, \w+)*): As in :class:`{name}`\.\n', documentation, text, flags=re.MULTILINE)
