"""Reads text files and class lists in common encodings."""
import codecs
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..utils.files import check_file

IGNORED = 255  # mmseg's label for pixels without a class
COLOR = r'\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3}'
MARKS = codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
NUMBER = r'(?P<number>\d+)[\s:=,;]+'
NAME = r'(?P<name>[^\s:=,;].*?)'
# Lines of class lists with numbers or colors, as in CamVid, Pascal VOC and CVAT.
ROWS = [re.compile(row) for row in (
    rf'{NUMBER}{NAME}[\s:=,;]+(?P<color>{COLOR})[\s:,;]*',
    rf'{NUMBER}(?P<color>{COLOR})[\s:=,;]+{NAME}',
    rf'(?P<color>{COLOR})[\s:=,;]+{NAME}',
    rf'{NAME}[\s:=,;]+(?P<color>{COLOR})[\s:,;]*',
    rf'{NUMBER}{NAME}',
)]


class ClassList(NamedTuple):
    """Names of classes, and their colors (red, green, blue); ``palette`` is None for a list without colors."""

    names: tuple[str, ...]
    palette: list[list[int]] | None


def is_plain(path: str | Path) -> bool:
    """Returns whether a text file has no byte order mark."""
    with open(path, 'rb') as file:
        return not file.read(3).startswith(MARKS)


def read_text(path: str | Path) -> str:
    """Reads a text file in UTF-8 (byte order mark optional) or UTF-16 (byte order mark required).

    Raises:
        UsageError: If the file cannot be read, or has another encoding.
    """
    check_file(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}') from error
    is_utf16 = content.startswith(MARKS[1:])
    try:
        text = content.decode('utf-16' if is_utf16 else 'utf-8-sig')
    except UnicodeDecodeError:
        text = '\0'
    if '\0' in text:  # UTF-16 without a byte order mark is often valid UTF-8 with null characters
        name = shlex.quote(str(path))
        raise UsageError(f'{path} is not in UTF-8; convert Latin-1 with: iconv -f LATIN1 -t UTF-8 {name} > NEW')
    return text


def read_class_list(path: str | Path) -> ClassList:
    """Reads class names from a file with one class per line.

    Lines may also contain the number of the class, counted from 0, and its color: ``0 sky 128 128 128``,
    ``sky 128 128 128``, ``128 128 128 sky``, ``sky:128,128,128::``. A class with the number 255 is skipped, because
    255 marks ignored pixels in masks.

    Raises:
        UsageError: If the file cannot be read, a line has a color but not all lines have the same form, or a number,
            color or name is invalid.
    """
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if lines and lines[0].startswith('# label:'):  # the header of CVAT's labelmap.txt
        lines = lines[1:]
    rows = _parse_rows(path, lines)
    names = [row['name'] for row in rows]
    check_class_names(names, str(path))
    colors = [[int(value) for value in re.findall(r'\d+', row['color'])] for row in rows if row.get('color')]
    if wrong := [color for color in colors if max(color) > 255]:
        raise UsageError(f'{path}: colors must have numbers from 0 to 255, got {wrong[0]}')
    return ClassList(tuple(names), colors or None)


def _parse_rows(path: str | Path, lines: list[str]) -> list[dict[str, str]]:
    """Returns the name and, if present, the color of each class, in the order of the class numbers."""
    colored = [line for line in lines if re.search(rf'(^|[\s:=,;]){COLOR}([\s:=,;]|$)', line)]
    for form in ROWS:
        rows = [match.groupdict() for line in lines if (match := form.fullmatch(line))]
        if lines and len(rows) == len(lines) and ('color' in form.groupindex or not colored):
            return _by_number(path, rows)
    if colored:
        raise UsageError(f'{path}: {colored[0]!r} has a color, but not all lines have the same form; use NAME RED '
                         'GREEN BLUE or NUMBER NAME RED GREEN BLUE in all lines')
    return [dict(name=line) for line in lines]


def _by_number(path: str | Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    if 'number' not in rows[0]:
        return rows
    ordered = sorted((row for row in rows if int(row['number']) != IGNORED), key=lambda row: int(row['number']))
    numbers = [int(row['number']) for row in ordered]
    if numbers != list(range(len(ordered))):
        raise UsageError(f'{path}: the numbers of the classes, which are the values in masks, must be 0 to '
                         f'{len(ordered) - 1}, each once, got {numbers}')
    return ordered


def check_class_names(names: Iterable, where: str) -> None:
    """Raises UsageError if a name is not a string or is blank, or if two names differ only by case or spaces."""
    known: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f'{where}: the name of a class must be a string that is not empty, got {name!r}')
        key = ''.join(name.split()).casefold()
        if key in known:
            raise UsageError(f'{where}: names of classes must differ by more than case or space, got {known[key]!r} '
                             f'and {name!r}')
        known[key] = name


def check_listable(names: Sequence[str], where: str) -> None:
    """Raises UsageError if a file name cannot be stored as a line of a UTF-8 text file."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(f'{where}: the name {name!r} is not in UTF-8; rename the file') from None
        if name != name.strip() or '\n' in name or '\r' in name:
            raise UsageError(f'{where}: the name {name!r} has a line break, or a space at its start or end, which the '
                             'list of images does not allow; rename the file')
