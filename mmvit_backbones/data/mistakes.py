"""What is wrong in a data set: errors, and warnings where less than half of it is harmed."""
import sys
from typing import NamedTuple

from ..errors import UsageError
from ..utils.distributed import is_first_process


class Mistake(NamedTuple):
    """One line on what is wrong, whether it is an error or a warning, and the image of each case."""

    text: str
    is_error: bool
    images: tuple[str, ...] = ()


def warn(message: str) -> None:
    """Prints a warning, in the first process only."""
    if is_first_process():
        print(f'warning: {message}', file=sys.stderr)


def is_half(wrong: int, total: int) -> bool:
    """Returns whether so many of all are an error, not a warning."""
    return 2 * wrong >= total


def check_share(wrong: list[str], total: int, rule: str) -> None:
    """Raises UsageError if half of what was checked or more is wrong; prints a warning if less is."""
    if not wrong:
        return
    message = f'{wrong[0]}; so are {len(wrong)} of {total} that were checked: {rule}'
    if is_half(len(wrong), total):
        raise UsageError(message)
    warn(message)


def some(values: list) -> str:
    """Returns the first three values as text, and the number of the others."""
    more = f' and {len(values) - 3} more' if len(values) > 3 else ''
    return ', '.join(map(str, values[:3])) + more
