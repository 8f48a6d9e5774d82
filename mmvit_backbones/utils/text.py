"""Texts of others, such as names of files and classes, in output."""
from collections.abc import Iterable
from difflib import get_close_matches

FORMULA = '=', '+', '-', '@', '\t', '\r'


def printable(text: object) -> str:
    """Returns a text with control characters escaped: a terminal would obey them, some reverse the order."""
    return ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in str(text))


def cell(text: str) -> str:
    """Returns a text for a CSV file, after a quote if a spreadsheet would take it as a formula, as OWASP advises."""
    return f"'{text}" if text.startswith(FORMULA) else text


def near_names(name: str, known: Iterable[str]) -> str:
    """Returns the end of a message on an unknown name: ``; near are`` up to three known ones, or nothing."""
    near = get_close_matches(name, list(known), n=3)
    return f'; near are {", ".join(near)}' if near else ''
