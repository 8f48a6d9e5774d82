"""Problems in a data set, reported as errors or warnings."""
import sys
from typing import NamedTuple

from mmvit_backbones.errors import UsageError

from ..utils.distributed import is_first_process


class Problem(NamedTuple):
    """A problem in a data set: a line of text, and whether it is an error or a warning."""

    text: str
    is_error: bool


def warn(message: str) -> None:
    """Prints a warning, in the first process only."""
    if is_first_process():
        print(f'warning: {message}', file=sys.stderr)


def report(problems: list[Problem]) -> None:
    """Raises UsageError if there are errors; otherwise prints the problems as warnings."""
    if errors := [problem.text for problem in problems if problem.is_error]:
        raise UsageError(f'{errors[0]} (error 1 of {len(errors)}; list all with mmvit data check)')
    for problem in problems:
        warn(problem.text)


def is_half(wrong: int, total: int) -> bool:
    """Returns whether ``wrong`` is at least half of ``total``, which makes a problem an error."""
    return 2 * wrong >= total


def check_share(wrong: list[str], total: int, rule: str) -> None:
    """Raises UsageError if at least half of the checks failed, or prints a warning if fewer failed.

    Args:
        wrong (list[str]): A message for each failed check.
        total (int): Number of checks.
        rule (str): Requirement or remedy that ends the message.
    """
    if not wrong:
        return
    message = f'{wrong[0]}; {len(wrong)} of {total} checks failed: {rule}'
    if is_half(len(wrong), total):
        raise UsageError(message)
    warn(message)


def some(values: list) -> str:
    """Returns a text with the first three values and the number of further values."""
    more = f' and {len(values) - 3} more' if len(values) > 3 else ''
    return ', '.join(map(str, values[:3])) + more
