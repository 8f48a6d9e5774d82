"""Filters what a run shows on the console; its log file has every line."""
import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mmengine.logging import MMLogger

# The first record that is shown, of training, validation, testing or resuming.
FIRST = re.compile(r'(Epoch|Iter)\(|resumed epoch|Load checkpoint')
NOISE = re.compile('is skipped since its requires_grad|will be deprecated in future')


class ConsoleFilter(logging.Filter):
    """Drops what a run logs about itself before its first step: environment, config, hooks, groups of parameters.

    Warnings and errors pass, but not those about frozen parameters and deprecations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        self.is_open = self.is_open or bool(FIRST.match(text))
        return self.is_open or record.levelno >= logging.WARNING and not NOISE.search(text)


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Collects what is printed; if an exception is raised, prints it."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield text
    except BaseException:
        print(text.getvalue(), file=sys.stderr, end='')
        raise


def filter_console(logger: MMLogger) -> None:
    """Filters the console's handler of a runner that was built inside :func:`quiet`."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setStream(sys.stdout)
            handler.addFilter(ConsoleFilter())
