"""Reads text files, and reads and checks lists of class names."""
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import read_text

from ..utils.images import IGNORED

BYTE_ORDER_MARK = b'\xef\xbb\xbf'  # of UTF-8
BREAK = r'[\s:=,;|]+'
NAME = r'(?P<name>[^\s:=,;|].*?)'
NUMBER = r'[\[(]?(?P<number>\d+)(?:[.)\]](?!\d)[\s:=,;|]*|\s+-\s+|(?P<break>[\s:=,;|]+))'  # "0 ", "0:", "0.", ...
COLOR = BREAK + r'(?P<color>\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3})[\s:,;]*'
# Forms of the lines in class lists, as in CamVid, Pascal VOC and CVAT. All lines of a file have the same form.
FORMS = [re.compile(form) for form in (NUMBER + NAME + COLOR, NAME + COLOR, NUMBER + NAME)]
NUMBER_LAST = re.compile(NAME + BREAK + r'(?P<number>\d+)')
COLUMN_BREAKS = ',;\t|'
HEADINGS = {'category', 'categories', 'class', 'classes', 'classname', 'label', 'labels', 'name', 'names'}
COLUMNS = HEADINGS | {'b', 'blue', 'color', 'colour', 'g', 'green', 'hex', 'id', 'ids', 'idx', 'index', 'no', 'number',
                      'palette', 'pixel', 'r', 'red', 'rgb', 'value'}
Rows = list[dict[str, str]]


class ClassList(NamedTuple):
    """Names of classes, and their colors (red, green, blue); ``palette`` is None for a list without colors."""

    names: tuple[str, ...]
    palette: list[list[int]] | None


def read_class_list(path: str | Path) -> ClassList:
    """Reads class names from a file with one class per line.

    Lines may also have the number of the class, counted from 0, and its color: ``0 sky 128 128 128``. A class with the
    number 255 is skipped, because 255 marks ignored pixels in masks. Lines that start with ``#`` are comments. Names
    that start with a number are written in quotes.

    Raises:
        UsageError: If the file cannot be read, lines have different forms, or a number, color or name is invalid.
    """
    lines = [line.strip().rstrip(',;:| \t') for line in read_text(path).splitlines()]
    lines = [re.sub(r'(["\'])(\d+)\1', r'\2', line) for line in lines if line and not line.startswith('#')]
    rows = _rows(lines)
    if rows is None:
        _check_plain_names(path, lines)
        rows = [dict(name=line) for line in lines]
    elif colored := [row['name'] for row in rows if not row.get('color') and FORMS[1].fullmatch(row['name'])]:
        raise UsageError(f'{path}: {colored[0]!r} has a color, but other lines have none')
    if any(row.get('number') for row in rows):
        rows = _by_number(path, rows)
    names = tuple(_unquoted(row['name']) for row in rows)
    if numbered := [name for name in names if re.match(r'\d+\s*[:=,;|\t]', name)]:
        raise UsageError(f'{path}: quotes must be around the name alone, got {numbered[0]!r}')
    check_class_names(names, str(path))
    colors = [[int(value) for value in re.findall(r'\d+', row['color'])] for row in rows if row.get('color')]
    if wrong := [color for color in colors if max(color) > 255]:
        raise UsageError(f'{path}: colors must have numbers from 0 to 255, got {wrong[0]}')
    return ClassList(names, colors or None)


def _rows(lines: list[str]) -> Rows | None:
    """Returns the parts of lines that all have a number or a color in the same place, or None for other lines."""
    for form in FORMS:
        matches = [match for line in lines if (match := form.fullmatch(line))]
        if lines and len(matches) == len(lines):
            return [match.groupdict() for match in matches]
    matches = [match for line in lines if (match := NUMBER_LAST.fullmatch(line))]
    names = {match['name'] for match in matches}
    if lines and len(names) == len(lines) and sorted(int(match['number']) for match in matches) == [*range(len(lines))]:
        return [match.groupdict() for match in matches]
    return None


def _check_plain_names(path: str | Path, lines: list[str]) -> None:
    """Raises UsageError if lines are not just names."""
    titles = re.split(r'[\W_]+', lines[0].lower()) if lines else ['']
    if _rows(lines[1:]) or COLUMNS.issuperset(titles) and (len(titles) > 1 or HEADINGS.issuperset(titles)):
        raise UsageError(f'{path}: {lines[0]!r} has another form than the next line, or seems to be a header; delete a '
                         'header, or write the name of a class in quotes')
    first_numbers = [int(match[1]) for line in lines if (match := re.match(r'(\d+)\D', line))]
    are_numbered = len(lines) > 1 and first_numbers == [*range(len(lines))] or all(
        re.fullmatch(r'\d+|.*\S\s*[:=,;|\t]\s*\d+', line) for line in lines)
    if wrong := [line for line in lines if are_numbered or any(form.fullmatch(line) for form in FORMS)
                 or not re.match(NAME, line)]:
        raise UsageError(f'{path}: {wrong[0]!r} is not a name alone; write names, or in all lines a number from 0, a '
                         'space, comma, tab or colon, and a name; names that have a number are written in quotes')


def _unquoted(name: str) -> str:
    is_quoted = len(name) > 1 and name[0] == name[-1] and name[0] in '"\''
    return name[1:-1].replace('""', '"').strip() if is_quoted else name


def _by_number(path: str | Path, rows: Rows) -> Rows:
    """Returns the rows sorted by number, without that of ignored pixels."""
    for row in rows:
        column = (row.get('break') or '').strip(' ') or ' '
        if column in COLUMN_BREAKS and column in row['name'] and not row['name'].startswith(('"', "'")):
            raise UsageError(f'{path}: lines must have two columns, number and name, got the name {row["name"]!r}; '
                             f'write names that have {column!r} in quotes')
    ordered = sorted((row for row in rows if int(row['number']) != IGNORED), key=lambda row: int(row['number']))
    numbers = [int(row['number']) for row in ordered]
    if numbers != list(range(len(ordered))):
        raise UsageError(f'{path}: the numbers of the classes, which are the values in masks, must be 0 to '
                         f'{len(ordered) - 1}, each once, got {numbers}')
    return ordered


def check_class_names(names: Iterable, where: str) -> None:
    """Raises UsageError if a name is blank or no string, or two names differ only by case, spaces or Unicode form."""
    names = list(names)
    if wrong := [name for name in names if not is_name(name)]:
        raise UsageError(f'{where}: the name of a class must be a string that is not empty, got {wrong[0]!r}')
    if alike := alike_names(names):
        raise UsageError(f'{where}: names of classes must differ by more than case or space, got {names[alike[0]]!r} '
                         f'and {names[alike[1]]!r}')


def cleaned(name: str) -> str:
    """Returns the name of a class without spaces around it, with spaces for tabs and line breaks, in Unicode NFC."""
    return normalize('NFC', re.sub(r'[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]', ' ', name.strip()))


def is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def alike_names(names: Iterable) -> list[int]:
    """Returns the positions of names that differ from another one only by case, spaces or Unicode form."""
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        if is_name(name):
            groups.setdefault(normalize('NFC', ''.join(name.split())).casefold(), []).append(position)
    return [position for group in groups.values() if len(group) > 1 for position in group]
