"""Downloads files from http(s) URLs with gdown, which also handles the pages of Google Drive."""
import sys

from ..errors import UsageError

RETRIES = 5
TIMEOUT = 30  # seconds to wait for more data


def receive(url: str, output: str) -> None:
    """Downloads a file from an http(s) URL to a path, with a progress bar on a terminal.

    Resumes the partial file that an earlier call left next to ``output``, and retries after broken connections.

    Raises:
        UsageError: If the download fails, or is incomplete; the message contains the reason.
    """
    try:
        import gdown
        import urllib3
    except ImportError as error:
        raise UsageError("downloads need gdown: pip install 'mmvit_backbones[weights]'") from error
    try:
        gdown.download(url, output, use_cookies=False, timeout=TIMEOUT, resume=True,
                       quiet=not (sys.stderr and sys.stderr.isatty()), retries=RETRIES)
    except (gdown.exceptions.DownloadError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise UsageError(' '.join(str(error).split())) from error


def is_unreachable(error: BaseException | None) -> bool:
    """Returns whether a download error, or one of its causes, means that the server cannot be reached."""
    import requests
    is_lost = isinstance(error, requests.ConnectionError | requests.Timeout)
    return is_lost or error is not None and is_unreachable(error.__cause__)
