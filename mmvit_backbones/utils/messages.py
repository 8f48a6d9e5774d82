"""Parts of messages: similar names, tables and paths, and where they are shown."""
import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def near_names(name: str, known: Iterable[str], kind: str = 'names') -> str:
    """Returns the end of an error message about an unknown name: up to three similar names or an empty string."""
    near = get_close_matches(name, list(known), n=3)
    return f'; similar {kind}: {", ".join(near)}' if near else ''


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a Markdown table."""
    head = list(head)
    return '\n'.join(f'| {" | ".join(row)} |' for row in (head, ['---'] * len(head), *rows))


def short_path(path: str) -> str:
    """Returns an absolute path inside the current folder as a relative one, as users write it; others unchanged."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # on another drive of Windows
        return path
    return relative if os.path.isabs(path) and not relative.startswith(os.pardir) else path


def console_of(file: TextIO) -> 'Console':
    """Returns rich's console for a file; with FORCE_COLOR, which Jupyter sets, rich would draw bars into pipes."""
    from rich.console import Console
    is_terminal = getattr(file, 'isatty', bool)()  # which a user's replacement of sys.stdout may lack
    return Console(file=file, force_terminal=None if is_terminal else False)
