"""Downloads files from http(s) addresses with gdown, which also follows the pages of Google Drive."""
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
TIMEOUT = 30  # seconds without any data
STALLED = 60  # seconds without a complete block of gdown, half a megabyte
MAX_BYTES = 8e9  # of a file whose length the server does not announce
# In the messages of requests.
NO_CONNECTION = ('Unable to connect to proxy', 'Failed to resolve', 'Connection refused', 'Network is unreachable',
                 'timed out')


def receive(address: str, output: str | BinaryIO, max_bytes: float | None = None, resume: bool = False) -> None:
    """Downloads a file.

    Args:
        address (str): An http(s) address.
        output (str | BinaryIO): Path, or a file that is open for writing.
        max_bytes (float | None): Maximum size. Defaults to None: the announced length, else ``MAX_BYTES``.
        resume (bool): Continue the partial file that an earlier call has left next to ``output``, retry if the
            connection breaks, and show a progress bar on a terminal.

    Raises:
        UsageError: If the download fails, is incomplete, too large or too slow; the message is the reason.
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
    """Yields the progress callback for gdown, which raises UsageError above the limit, and the event that cancels a
    stalled download.
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


def reason_of(error: Exception) -> str:
    """Returns the message of an error of requests, shortened if there is no connection."""
    text = ' '.join(str(error).split())
    host = re.search(r"ConnectionPool\(host='([^']+)'", text)
    cause = next((words for words in NO_CONNECTION if words.lower() in text.lower()), None)
    return f'no connection to {host[1]} ({cause})' if host and cause else text
