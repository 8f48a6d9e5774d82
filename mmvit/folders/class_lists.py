"""Reads and checks lists of class names."""
import re
from collections.abc import Iterable
from pathlib import Path
from unicodedata import normalize

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import read_text

QUOTED = re.compile(r'(["\'])((?:(?!\1).)+)\1')
# Forms of lines that are no names alone, as in the lists of CamVid, Pascal VOC and CVAT; the group tells lines apart.
FORMS = {'begin with numbers': re.compile(r'\W*(\d+)(?:\W.*)?'), 'end with numbers': re.compile(r'.*[,;:=|\t]\s*(\d+)'),
         'end with colors': re.compile(r'(.*\D)\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3}[\s,;:]*')}
DIFFERENT = 'names of classes must differ by more than their Unicode form (NFC, NFD)'


def read_class_list(path: str | Path) -> tuple[str, ...]:
    """Returns the class names in a file with a name per line, by their labels from 0.

    Empty lines, and lines that start with ``#``, are skipped; a name in quotes is taken as it is.

    Raises:
        UsageError: If the file cannot be read, its lines have numbers or colors beside the names, or a name is invalid.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and not line.startswith('#')]
    for rows in lines, lines[1:]:  # perhaps after a header
        for form, pattern in FORMS.items():
            found = {match[1] for row in rows if not QUOTED.fullmatch(row) and (match := pattern.fullmatch(row))}
            if 1 < len(found) == len(rows):
                raise UsageError(f'{path}: the lines {form}, the first is {lines[0]!r}; write the name of a class per '
                                 'line, without a header, in the order of their values in masks, from 0; a name that '
                                 'has a number there is put in quotes')
    names = tuple(QUOTED.sub(r'\2', line) if QUOTED.fullmatch(line) else line for line in lines)
    check_class_names(names, str(path))
    return names


def format_class(name: str) -> str:
    """Returns the line of a name, in quotes if it has more than letters."""
    quote = "'" if '"' in name else '"'
    return name if name.isalpha() else f'{quote}{name}{quote}'


def check_class_names(names: Iterable, where: str) -> None:
    """Raises UsageError if a name is no text in a line, or two names are equal, perhaps in another Unicode form."""
    names = list(names)
    if wrong := [name for name in names if not is_name(name)]:
        raise UsageError(f'{where}: the name of a class must be text in a line, got {wrong[0]!r}')
    if repeated := repeated_names(names):
        name = names[repeated[0]]
        reason = DIFFERENT if names.count(name) == 1 else 'names of classes must differ'
        raise UsageError(f'{where}: {reason}, got {name!r} again')


def is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.splitlines() == [value]


def repeated_names(names: Iterable) -> list[int]:
    """Returns the positions of names that are equal to an earlier one, or differ from it by Unicode form alone."""
    known: set[str] = set()
    forms = [composed(str(name)) for name in names]
    return [i for i, name in enumerate(forms) if name in known or known.add(name)]


def composed(name: str) -> str:
    """Returns a name in the Unicode form NFC; macOS writes accents as separate characters (NFD)."""
    return normalize('NFC', name)
