"""Finds the rank of a process before the process group is initialized, and prints warnings once."""
import os
import sys


def is_first_process() -> bool:
    """Returns whether this process has rank 0, or was started without a launcher."""
    return os.environ.get('RANK', '0') == '0'


def warn(message: str) -> None:
    """Prints a warning, in the first process only."""
    if is_first_process():
        print(f'warning: {message}', file=sys.stderr)
