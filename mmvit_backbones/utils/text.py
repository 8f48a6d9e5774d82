"""Text files, parts of error messages, and tables."""
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from ..errors import UsageError

UTF_16 = b'\xff\xfe', b'\xfe\xff'  # its byte order marks


def near_names(name: str, known: Iterable[str], kind: str = 'names') -> str:
    """Returns the end of an error message about an unknown name: up to three similar names or an empty string."""
    near = get_close_matches(name, list(known), n=3)
    return f'; similar {kind}: {", ".join(near)}' if near else ''


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a Markdown table."""
    head = list(head)
    return '\n'.join(f'| {" | ".join(row)} |' for row in (head, ['---'] * len(head), *rows))


def read_text(path: str | Path) -> str:
    """Returns the content of a text file in UTF-8, without the byte order mark of some editors.

    Raises:
        UsageError: If the file cannot be read or has another encoding.
    """
    return decode_text(read_bytes(path), path)


def read_bytes(path: str | Path) -> bytes:
    """Returns the content of a file; raises UsageError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f'{path} cannot be read: {error.strerror}') from error


def decode_text(content: bytes, path: str | Path) -> str:
    """Returns the text of a file in UTF-8, without byte order mark; raises UsageError for other encodings."""
    text, wrong = '', content.find(0)  # UTF-16 without a mark has zeros
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        wrong = error.start if wrong < 0 else min(wrong, error.start)
    if wrong >= 0:
        kind = ' of UTF-16' if content.startswith(UTF_16) else ''
        raise UsageError(f'{path} must be in UTF-8, got the byte 0x{content[wrong]:02x}{kind} at position {wrong} in '
                         f'line {content.count(10, 0, wrong) + 1}; save the file as UTF-8')
    return text
