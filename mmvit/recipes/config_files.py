"""Writes the sections of a config as Python code with comments."""
from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import Any

WIDTH = 100


def write_sections(header: Iterable[str], sections: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Returns the code of a config: lines of a header as comments, and sections, each a comment and its settings.

    A dict or list that is a setting before stands as its name.
    """
    lines, names = [f'# {line}'.rstrip() for line in header], {}
    for comment, settings in sections:
        lines += ['', *(f'# {line}' for line in wrap(comment, WIDTH - 2))]
        for name, value in settings.items():
            lines.append(f'{name} = {write_value(value, names, len(name) + 3)}')
            names[id(value)] = name
    return '\n'.join(lines) + '\n'


def write_value(value: Any, names: Mapping[int, str], column: int = 0, indent: int = 0) -> str:
    """Returns the code of a value that begins in a column, broken into lines where it is too wide."""
    if not isinstance(value, (Mapping, list, tuple)):
        return repr(value)
    if id(value) in names:
        return names[id(value)]
    keys, values, (opening, closing) = [''] * len(value), value, '[]' if isinstance(value, list) else '()'
    if isinstance(value, Mapping):
        is_named = all(isinstance(key, str) and key.isidentifier() for key in value)
        keys, values = [f'{key}=' if is_named else f'{key!r}: ' for key in value], list(value.values())
        opening, closing = ('dict(', ')') if is_named else '{}'
    if isinstance(value, tuple) and len(value) == 1:
        closing = ',)'
    flat = [key + write_value(each, names, -10**6) for key, each in zip(keys, values)]
    line = opening + ', '.join(flat) + closing
    if column + len(line) <= WIDTH:
        return line
    inner = indent + 4
    items = [key + write_value(each, names, inner + len(key) + 1, inner) for key, each in zip(keys, values)]
    lines = items[:1]
    is_plain = not isinstance(value, Mapping) and not any(isinstance(each, (Mapping, list)) for each in value)
    for item in items[1:]:  # such as names of classes and colors, as many in a line as fit
        fits = is_plain and inner + len(lines[-1]) + len(item) + 3 <= WIDTH
        lines[-1:] = [f'{lines[-1]}, {item}'] if fits else [lines[-1], item]
    return opening + '\n' + ',\n'.join(' ' * inner + line for line in lines) + closing
