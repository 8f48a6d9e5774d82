"""Formats untrusted text, such as names of files and classes, for output."""
from collections.abc import Iterable
from difflib import get_close_matches

FORMULA = '=', '+', '-', '@', '\t', '\r'


def printable(text: object) -> str:
    """Escapes control characters, which could manipulate a terminal or reverse the direction of text."""
    return ''.join(char if char.isprintable() else char.encode('unicode_escape').decode() for char in str(text))


def cell(text: str) -> str:
    """Returns text for a CSV file, with a leading quote (as OWASP recommends) if it could be read as a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def near_names(name: str, known: Iterable[str]) -> str:
    """Returns the end of an error message about an unknown name: up to three similar names or an empty string."""
    near = get_close_matches(name, list(known), n=3)
    return f'; similar names: {", ".join(near)}' if near else ''
