"""Finds fonts of the system for names of classes, such as Chinese ones, which DejaVu Sans lacks."""
import logging
from collections.abc import Iterator
from functools import cache

from mmengine.logging import print_log

DEFAULT = 'DejaVu Sans'  # comes with matplotlib
_without_font: list[str] = []  # texts; the first is said


@cache
def font_for(text: str) -> str | None:
    """Returns the file of a font that has all characters of a text; if there is none, says so once and returns None."""
    needed = {ord(character) for character in text if not character.isspace()}
    for path in _fonts():
        if needed <= _characters(path):
            return path
    _without_font.append(text)
    if len(_without_font) == 1:
        print_log(f'no font of this system has the characters of {text!r}; classes with such names are drawn as '
                  'numbers; install a font that has them, e.g. the package fonts-noto-cjk for Chinese, Japanese and '
                  'Korean', 'current', logging.WARNING)
    return None


def default_font() -> str:
    from matplotlib.font_manager import findfont
    return findfont(DEFAULT)


def _fonts() -> Iterator[str]:
    """Yields the files of the default font, then those of the system, those of normal style and weight first."""
    from matplotlib.font_manager import fontManager
    yield default_font()
    for entry in sorted(fontManager.ttflist, key=lambda font: (
            font.style != 'normal', font.weight not in (400, 'normal', 'regular'), font.name, font.fname)):
        if not entry.name.startswith('Last Resort'):  # of matplotlib, has the same box for all characters of a script
            yield entry.fname


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font
    from PIL import ImageFont
    try:
        ImageFont.truetype(path, 17)  # fonts of colored emoji have one size
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a damaged font, or one of bitmaps
        return frozenset()
