"""Commands and paths as they are typed, and the console."""
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def as_typed(words: Iterable[str]) -> str:
    """Returns the words of a command in one line, quoted as the shells of this system take them."""
    return subprocess.list2cmdline(words) if sys.platform == 'win32' else shlex.join(words)


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
