"""Commands that are shown, so that they can be typed again."""
import shlex
import subprocess
import sys
from collections.abc import Iterable


def as_typed(words: Iterable[str]) -> str:
    """Returns the words of a command in one line, quoted as the shells of this system take them."""
    return subprocess.list2cmdline(words) if sys.platform == 'win32' else shlex.join(words)
