"""Receives files from http(s) addresses by gdown, which follows Google Drive's pages and uses requests."""
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import BinaryIO

from ..errors import UsageError

RETRIES = 5
TIMEOUT = 30  # seconds in which a server must send something
STALLED = 60  # seconds in which it must send a block of gdown's, half a megabyte
MAX_BYTES = 8e9  # of a file whose length is not announced
# What requests say when there is none.
NO_CONNECTION = ('Unable to connect to proxy', 'Failed to resolve', 'Connection refused', 'Network is unreachable',
                 'timed out')


def receive(address: str, output: str | BinaryIO, max_bytes: float | None = None, resume: bool = False) -> None:
    """Downloads a file.

    Args:
        address (str): An http(s) address.
        output (str | BinaryIO): File to write, or an open one.
        max_bytes (float | None): Limit. Defaults to None: the length that the server announces, else ``MAX_BYTES``.
        resume (bool): Go on with what an earlier call has left next to ``output``, try again if the connection breaks,
            and draw a progress bar on a terminal.

    Raises:
        UsageError: If it cannot be had, ends early, is too large or comes too slowly; the message is the reason.
    """
    gdown = import_gdown()
    import urllib3
    options = dict(quiet=not (resume and sys.stderr.isatty()), retries=RETRIES if resume else 0, resume=resume)
    try:
        with watched(max_bytes) as (progress, cancel):
            gdown.download(address, output, use_cookies=False, timeout=TIMEOUT, progress=progress, cancel=cancel,
                           **options)
    except UsageError:
        raise
    except gdown.exceptions.DownloadCancelled as error:
        raise UsageError(f'the server sent less than half a megabyte in {STALLED} seconds') from error
    except (gdown.exceptions.DownloadError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise UsageError(reason_of(error)) from error


def import_gdown() -> ModuleType:
    try:
        import gdown
    except ImportError as error:
        raise UsageError("downloading needs gdown: pip install 'mmvit_backbones[weights]'") from error
    return gdown


@contextmanager
def watched(max_bytes: float | None) -> Iterator[tuple[Callable, threading.Event]]:
    """Yields gdown's callback of progress, which raises UsageError beyond the limit, and the event that ends a download
    without progress.
    """
    last, cancel, is_over = [time.monotonic()], threading.Event(), threading.Event()

    def progress(received: int, announced: int | None) -> None:
        last[0] = time.monotonic()
        limit = max_bytes or announced or MAX_BYTES
        if max(received, announced or 0) > limit:
            raise UsageError(f'it has more than {limit / 1e6:g} MB')

    def watch() -> None:
        while not is_over.wait(last[0] + STALLED - time.monotonic()):
            if time.monotonic() - last[0] >= STALLED:
                return cancel.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield progress, cancel
    finally:
        is_over.set()


def reason_of(error: Exception) -> str:
    """Returns the message of a request's error, shortened if there is no connection."""
    text = ' '.join(str(error).split())
    host = re.search(r"ConnectionPool\(host='([^']+)'", text)
    cause = next((words for words in NO_CONNECTION if words.lower() in text.lower()), None)
    return f'no connection to {host[1]} ({cause})' if host and cause else text
