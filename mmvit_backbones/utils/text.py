"""Untrusted text, such as names of files and classes, in output."""
from collections.abc import Iterable
from difflib import get_close_matches

FORMULA = '=', '+', '-', '@', '\t', '\r'


def printable(text: object) -> str:
    """Returns a text with control characters escaped: terminals interpret them, and some reverse the text."""
    return ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in str(text))


def cell(text: str) -> str:
    """Returns a text for a CSV file, with a leading quote if a spreadsheet would evaluate it, as OWASP recommends."""
    return f"'{text}" if text.startswith(FORMULA) else text


def near_names(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message on an unknown name: up to three similar names, or nothing."""
    near = get_close_matches(name, list(known), n=3)
    return f'; similar names: {", ".join(near)}' if near else ''
