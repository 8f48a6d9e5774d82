"""Writes sections of a config as Python code with comments."""
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

WIDTH = 100


class Name(str):
    """The name of another setting, which is written as such."""


class Section(NamedTuple):
    """Settings of a config, and a comment about them."""

    comment: str
    settings: Mapping[str, Any]


def text_of(header: Iterable[str], sections: Iterable[Section]) -> str:
    """Returns the code of a config: lines of a header, and each section with its comment before its settings."""
    lines = [f'# {line}'.rstrip() for line in header]
    for comment, settings in sections:
        lines += ['', *(f'# {line}' for line in wrap(comment, WIDTH - 2))] if settings else []
        lines += [f'{name} = {literal(value, len(name) + 3)}' for name, value in settings.items()]
    return '\n'.join(lines) + '\n'


def literal(value: Any, column: int = 0, indent: int = 0) -> str:
    """Returns the code of a value that begins in a column, broken into lines where it is too wide."""
    if isinstance(value, Mapping):
        named = all(isinstance(key, str) and key.isidentifier() for key in value)
        opening, closing = ('dict(', ')') if named else ('{', '}')
        names = [f'{key}=' if named else f'{key!r}: ' for key in value]
        values: Sequence = list(value.values())
    elif isinstance(value, (list, tuple)):
        opening, closing = '[]' if isinstance(value, list) else '()'
        names, values = [''] * len(value), value
    else:
        return str(value) if isinstance(value, Name) else repr(value)
    comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
    flat = opening + ', '.join(name + literal(each, -10**6) for name, each in zip(names, values)) + comma + closing
    if column + len(flat) <= WIDTH:
        return flat
    inner = indent + 4
    items = [name + literal(each, inner + len(name) + 1, inner) for name, each in zip(names, values)]
    is_plain = not isinstance(value, Mapping) and not any(isinstance(each, (Mapping, list, tuple)) for each in value)
    lines = filled(items, WIDTH - inner) if is_plain else items
    return opening + '\n' + ',\n'.join(' ' * inner + line for line in lines) + comma + closing


def filled(items: Sequence[str], width: int) -> list[str]:
    """Returns lines with as many items as fit, such as the names of classes."""
    lines = [items[0]]
    for item in items[1:]:
        if len(lines[-1]) + len(item) + 3 <= width:
            lines[-1] += f', {item}'
        else:
            lines.append(item)
    return lines
