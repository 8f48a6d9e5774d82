"""Shows of a run's log what a person needs. The log file has every line."""
import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial

from mmengine.runner import Runner

from .progress import ProgressHook

TABLE = re.compile(r'\n?[|+]|(per|accuracy by) class')  # figures by class
SHOWN = re.compile(r'resumed|the monitored metric')
TESTED = re.compile(rf'Epoch\(test|{TABLE.pattern}')
DEPRECATED = 'will be deprecated in future'  # functions that OpenMMLab itself calls


@contextmanager
def shown_briefly(runner: Runner, is_training: bool = False) -> Iterator[None]:
    """Hides the other lines of a run's log, and what is printed meanwhile, as by pycocotools.

    A training has a :class:`.ProgressHook` in their place.
    """
    progress = ProgressHook(sys.stdout) if is_training else None
    if progress:
        runner.register_hook(progress)
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setStream(sys.stdout)
            handler.addFilter(partial(concerns_person, progress=progress))
    with redirect_stdout(io.StringIO()):
        yield


def concerns_person(record: logging.LogRecord, progress: ProgressHook | None = None) -> bool:
    """Returns whether a record is a warning, or says how the run goes on; a training keeps its tables for its end."""
    text = record.getMessage()
    if record.levelno >= logging.WARNING:
        return DEPRECATED not in text
    if progress and TABLE.match(text):
        progress.tables.append(text.strip('\n'))
    return (SHOWN if progress else TESTED).match(text) is not None
