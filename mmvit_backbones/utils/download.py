"""Downloads files from http(s) URLs with gdown, which also handles the pages of Google Drive."""
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
TIMEOUT = 30  # seconds to wait for more data
STALLED = 60  # seconds to wait for gdown's next block of half a megabyte
MAX_BYTES = 8e9  # maximum file size if the server does not announce the size
# Substrings of requests' error messages that mean there is no connection.
NO_CONNECTION = ('Unable to connect to proxy', 'Failed to resolve', 'Connection refused', 'Network is unreachable',
                 'timed out')


def receive(address: str, output: str | BinaryIO, max_bytes: float | None = None, resume: bool = False) -> None:
    """Downloads a file.

    Args:
        address (str): An http(s) URL.
        output (str | BinaryIO): Path, or file object open for writing.
        max_bytes (float | None): Maximum file size in bytes. Defaults to None: the size announced by the server, or
            ``MAX_BYTES`` if it announces none.
        resume (bool): Whether to resume the partial file that an earlier call left next to ``output``, retry after
            broken connections, and show a progress bar on a terminal. Defaults to False.

    Raises:
        UsageError: If the download fails, or is incomplete, too large or too slow; the message contains the reason.
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
        raise UsageError("downloads need gdown: pip install 'mmvit_backbones[weights]'") from error
    return gdown


@contextmanager
def watched(max_bytes: float | None) -> Iterator[tuple[Callable, threading.Event]]:
    """Yields gdown's progress callback and cancel event for one download.

    The callback raises UsageError if the file is too large, and the event is set if the download stalls.
    """
    last, cancel, is_over = [time.monotonic()], threading.Event(), threading.Event()

    def progress(received: int, announced: int | None) -> None:
        last[0] = time.monotonic()
        limit = max_bytes or announced or MAX_BYTES
        if max(received, announced or 0) > limit:
            raise UsageError(f'the file is larger than {limit / 1e6:g} MB')

    def watch() -> None:
        while not is_over.wait(last[0] + STALLED - time.monotonic()):
            if time.monotonic() - last[0] >= STALLED:
                return cancel.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield progress, cancel
    finally:
        is_over.set()


def is_unreachable(error: BaseException | None) -> bool:
    """Returns whether a download error, or one of its causes, means that the server cannot be reached."""
    import requests
    if error is None or isinstance(error, requests.ConnectionError | requests.Timeout):
        return error is not None
    return is_unreachable(error.__cause__)


def reason_of(error: Exception) -> str:
    """Returns the message of a download error in one line, shortened if there is no connection."""
    text = ' '.join(str(error).split())
    host = re.search(r"ConnectionPool\(host='([^']+)'", text)
    cause = next((words for words in NO_CONNECTION if words.lower() in text.lower()), None)
    return f'no connection to {host[1]} ({cause})' if host and cause else text
