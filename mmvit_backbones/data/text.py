"""Reads and checks lists of class names."""
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from ..errors import UsageError

BYTE_ORDER_MARK = b'\xef\xbb\xbf'  # of UTF-8
UTF_16 = b'\xff\xfe', b'\xfe\xff'  # its byte order marks
IGNORED = 255  # mmseg's label for pixels without a class
NUMBER, NAME = r'(?P<number>\d+)[\s:=,;]+', r'(?P<name>[^\s:=,;].*?)'
COLOR = r'[\s:=,;]+(?P<color>\d{1,3}[\s,;]+\d{1,3}[\s,;]+\d{1,3})[\s:,;]*'
# Forms of the lines in class lists, as in CamVid, Pascal VOC and CVAT. All lines of a file have the same form.
FORMS = [re.compile(form) for form in (NUMBER + NAME + COLOR, NAME + COLOR, NUMBER + NAME, NAME)]


class ClassList(NamedTuple):
    """Names of classes, and their colors (red, green, blue); ``palette`` is None for a list without colors."""

    names: tuple[str, ...]
    palette: list[list[int]] | None


def read_text(path: str | Path) -> str:
    """Returns the content of a text file in UTF-8, without the byte order mark of some editors.

    Raises:
        UsageError: If the file cannot be read or has another encoding.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}') from error
    try:
        text, wrong = content.decode('utf-8-sig'), content.find(0)  # UTF-16 without mark has zeros
    except UnicodeDecodeError as error:
        text, wrong = '', error.start
    if wrong >= 0:
        kind = ' of UTF-16' if content.startswith(UTF_16) else ''
        raise UsageError(f'{path} must be in UTF-8, got the byte 0x{content[wrong]:02x}{kind} at position {wrong} in '
                         f'line {content.count(10, 0, wrong) + 1}; save the file as UTF-8')
    return text


def read_class_list(path: str | Path) -> ClassList:
    """Reads class names from a file with one class per line.

    Lines may also have the number of the class, counted from 0, and its color: ``0 sky 128 128 128``. A class with the
    number 255 is skipped, because 255 marks ignored pixels in masks. Lines that start with ``#`` are comments.

    Raises:
        UsageError: If the file cannot be read, only some lines have a color, or a number, color or name is invalid.
    """
    text = read_text(path)
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith('#')]
    form = next(form for form in FORMS if all(map(form.fullmatch, lines)))
    if 'color' not in form.groupindex and (colored := [line for line in lines if FORMS[1].fullmatch(line)]):
        raise UsageError(f'{path}: {colored[0]!r} has a color, but other lines have none')
    rows = [match.groupdict() for line in lines if (match := form.fullmatch(line))]
    if 'number' in form.groupindex:
        rows = _by_number(path, rows)
    names = tuple(row['name'] for row in rows)
    check_class_names(names, str(path))
    colors = [[int(value) for value in re.findall(r'\d+', row['color'])] for row in rows if row.get('color')]
    if wrong := [color for color in colors if max(color) > 255]:
        raise UsageError(f'{path}: colors must have numbers from 0 to 255, got {wrong[0]}')
    return ClassList(names, colors or None)


def _by_number(path: str | Path, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    ordered = sorted((row for row in rows if int(row['number']) != IGNORED), key=lambda row: int(row['number']))
    numbers = [int(row['number']) for row in ordered]
    if numbers != list(range(len(ordered))):
        raise UsageError(f'{path}: the numbers of the classes, which are the values in masks, must be 0 to '
                         f'{len(ordered) - 1}, each once, got {numbers}')
    return ordered


def check_class_names(names: Iterable, where: str) -> None:
    """Raises UsageError if a name is blank or no string, or two names differ only by case, spaces or Unicode form."""
    known: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f'{where}: the name of a class must be a string that is not empty, got {name!r}')
        key = normalize('NFC', ''.join(name.split())).casefold()
        if key in known:
            raise UsageError(f'{where}: names of classes must differ by more than case or space, got {known[key]!r} '
                             f'and {name!r}')
        known[key] = name
