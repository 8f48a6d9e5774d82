"""Finds fonts of the system for names of classes, such as Chinese ones, which matplotlib's own font lacks."""
import logging
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

from mmengine.logging import print_log

DEFAULT = 'DejaVu Sans'  # comes with matplotlib
_without_font: list[str] = []  # texts; the first is said


class Font(NamedTuple):
    """A font: its file, and the name by which matplotlib finds it."""

    path: str
    family: str


@cache
def font_for(text: str) -> Font | None:
    """Returns a font that has all characters of a text; if the system has none, says so once and returns None."""
    needed = {ord(character) for character in text if not character.isspace()}
    for font in _fonts():
        if needed <= _characters(font.path) and _is_scalable(font.path):
            return font
    _without_font.append(text)
    if len(_without_font) == 1:
        print_log(f'no font of this system has the characters of the class {text!r}; such classes are drawn as '
                  'numbers; install a font that has them, e.g. the package fonts-noto-cjk for Chinese, Japanese and '
                  'Korean', 'current', logging.WARNING)
    return None


def default_font() -> Font:
    from matplotlib.font_manager import findfont
    return Font(findfont(DEFAULT), DEFAULT)


def fonts_for(texts: Iterable[str]) -> AbstractContextManager:
    """Returns a context in which matplotlib has the fonts that texts need, also after a choice of a kind of font."""
    from matplotlib import rc_context
    found = (font_for(text) for text in texts)
    families: Any = list(dict.fromkeys([DEFAULT, *(font.family for font in found if font)]))
    keys = 'font.family', 'font.sans-serif', 'font.monospace'
    return rc_context(dict.fromkeys(keys, families)) if len(families) > 1 else nullcontext()


def _fonts() -> Iterator[Font]:
    """Yields the default font, then those of the system, those of normal style and weight first."""
    from matplotlib.font_manager import fontManager
    yield default_font()
    for entry in sorted(fontManager.ttflist, key=lambda font: (
            font.style != 'normal', font.weight not in (400, 'normal', 'regular'), font.name, font.fname)):
        if not entry.name.startswith('Last Resort'):  # of matplotlib, has the same box for all characters of a script
            yield Font(entry.fname, entry.name)


@cache
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a damaged font, or one of bitmaps
        return frozenset()


@cache
def _is_scalable(path: str) -> bool:
    from PIL import ImageFont
    try:
        ImageFont.truetype(path, 17)
    except OSError:  # fonts of colored emoji have one size
        return False
    return True
