"""Downloads files from http(s) URLs with gdown, which also handles the pages of Google Drive."""
import sys
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import UsageError

if TYPE_CHECKING:
    from requests import RequestException

RETRIES = 5
TIMEOUT = 30  # seconds to wait for more data
MAX_BYTES = 8e9  # maximum file size if the server does not announce the size


def receive(url: str, output: str) -> None:
    """Downloads a file from an http(s) URL to a path, with a progress bar on a terminal.

    Resumes the partial file that an earlier call left next to ``output``, and retries after broken connections.

    Raises:
        UsageError: If the download fails, or is incomplete or too large; the message contains the reason.
    """
    gdown = import_gdown()
    import urllib3

    def check_size(received: int, announced: int | None) -> None:
        limit = announced or MAX_BYTES
        if max(received, announced or 0) > limit:
            raise UsageError(f'the file is larger than {limit / 1e6:g} MB')

    try:
        gdown.download(
            url, output, use_cookies=False, timeout=TIMEOUT, progress=check_size, resume=True,
            quiet=not (sys.stderr and sys.stderr.isatty()), retries=RETRIES)
    except UsageError:
        raise
    except (gdown.exceptions.DownloadError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise UsageError(reason_of(error)) from error


def import_gdown() -> ModuleType:
    try:
        import gdown
    except ImportError as error:
        raise UsageError("downloads need gdown: pip install 'mmvit_backbones[weights]'") from error
    return gdown


def is_unreachable(error: BaseException) -> bool:
    """Returns whether a download error, or one of its causes, means that the server cannot be reached."""
    return _connection_error(error) is not None


def _connection_error(error: BaseException | None) -> 'RequestException | None':
    """Returns the first ``requests`` connection error or timeout in an error's chain of causes, or None."""
    import requests
    if error is None or isinstance(error, requests.ConnectionError | requests.Timeout):
        return error
    return _connection_error(error.__cause__)


def reason_of(error: Exception) -> str:
    """Returns the message of a download error in one line, shortened if the server cannot be reached."""
    import requests
    lost = _connection_error(error)
    if lost is None:
        return ' '.join(str(error).split())
    host = urlsplit(str(lost.request.url)).hostname if lost.request else 'the server'
    through = ' through the proxy' if isinstance(lost, requests.exceptions.ProxyError) else ''
    return f'no connection to {host}{through} ({" ".join(str(_first_cause(lost)).split())})'


def _first_cause(error: BaseException) -> BaseException:
    """Returns the original exception, usually of the socket; requests and urllib3 pass it as an argument or a cause."""
    cause = error.__cause__ or next((cause for cause in error.args if isinstance(cause, BaseException)), None)
    return _first_cause(cause) if cause else error
