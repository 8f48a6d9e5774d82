"""Shows of a run's log what a person needs: steps, validations, tables and warnings. The log file has every line."""
import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mmengine.runner import Runner

SHOWN = re.compile(r'(Epoch|Iter)\(|weights from |\n?[|+]|(per|accuracy by) class|The best checkpoint|resumed|'
                   'the monitored metric')
DEPRECATED = 'will be deprecated in future'  # functions that OpenMMLab itself calls


@contextmanager
def shown_briefly(runner: Runner) -> Iterator[None]:
    """Hides the other lines of a run's log, and what is printed meanwhile, as by pycocotools."""
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setStream(sys.stdout)
            handler.addFilter(concerns_person)
    with redirect_stdout(io.StringIO()):
        yield


def concerns_person(record: logging.LogRecord) -> bool:
    """Returns whether a record is a warning, or says how the run goes on."""
    text = record.getMessage()
    return DEPRECATED not in text if record.levelno >= logging.WARNING else SHOWN.match(text) is not None
