"""Mistakes in a data set: errors, or warnings if they affect less than half of it."""
import sys
from typing import NamedTuple

from ..errors import UsageError
from ..utils.distributed import is_first_process


class Mistake(NamedTuple):
    """A line of text, whether it is an error or a warning, and the images that are affected."""

    text: str
    is_error: bool
    images: tuple[str, ...] = ()


def warn(message: str) -> None:
    """Prints a warning, in the first process only."""
    if is_first_process():
        print(f'warning: {message}', file=sys.stderr)


def is_half(wrong: int, total: int) -> bool:
    """Returns whether ``wrong`` of ``total`` is an error instead of a warning."""
    return 2 * wrong >= total


def check_share(wrong: list[str], total: int, rule: str) -> None:
    """Raises UsageError if at least half of ``total`` checks failed; prints a warning if fewer did."""
    if not wrong:
        return
    message = f'{wrong[0]}; {len(wrong)} of {total} checked are wrong: {rule}'
    if is_half(len(wrong), total):
        raise UsageError(message)
    warn(message)


def some(values: list) -> str:
    """Returns the first three values and the number of the others, as text."""
    more = f' and {len(values) - 3} more' if len(values) > 3 else ''
    return ', '.join(map(str, values[:3])) + more
