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
        raise UsageError(reason_of(error)) from error


def reason_of(error: BaseException) -> str:
    """Returns the message of a download error in one line; of a lost connection, its kind and its first cause."""
    lost, cause = lost_connection(error), error
    while lost and (inner := [each for each in (cause.__cause__, *cause.args) if isinstance(each, Exception)]):
        cause = inner[0]  # at last of the socket; requests and urllib3 pass it as an argument or a cause
    return (f'{type(lost).__name__}: ' if lost else '') + ' '.join(str(cause).split())


def lost_connection(error: BaseException | None) -> BaseException | None:
    """Returns the connection error or timeout of requests in a download error's chain of causes, or None."""
    import requests
    if error is None or isinstance(error, requests.ConnectionError | requests.Timeout):
        return error
    return lost_connection(error.__cause__)
