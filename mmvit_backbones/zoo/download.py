"""Downloads the authors' checkpoints once into a cache.

The cache folder is ``$MMVIT_HOME``, or torch hub's folder ``checkpoints`` by default. ``$MMVIT_MIRROR`` is the base
URL of a mirror, which is tried first. A mirror has the authors' files under the same names as the cache.
"""
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlparse

import torch
from mmengine.logging import print_log

from ..errors import CheckpointError
from .reading import problem_of_download
from .weights import BY_BROWSER, PublishedFile, host_of

RETRIES = 5  # after broken connections
TIMEOUT = 30  # seconds to wait for more data


def cache_folder() -> Path:
    home = os.environ.get('MMVIT_HOME')
    return Path(home).expanduser() if home else Path(torch.hub.get_dir(), 'checkpoints')


def cached_file(weights: PublishedFile) -> Path:
    """Returns the cache path of published weights."""
    return cache_folder() / weights.file_name


def fetch(weights: PublishedFile, use_mirror: bool = True) -> Path:
    """Returns the cached file of published weights, and downloads the file if it is missing.

    If several processes need the file, one process downloads it and the others wait. A cache that cannot be written
    serves the files that it has.

    Raises:
        CheckpointError: If no URL provides the file, or the cache folder cannot be written for a download; the message
            explains what to do.
    """
    mirror = os.environ.get('MMVIT_MIRROR', '').rstrip('/') if use_mirror else ''
    mirrored = [f'{mirror}/{quote(weights.file_name)}'] if mirror else []
    target = cached_file(weights)
    if not os.path.exists(target):
        with locked(cache_folder() / f'{weights.file_name}.lock'):
            if not os.path.exists(target):
                _download(target, weights, [*mirrored, *weights.urls])
    return target


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a file in the cache, and creates its folder.

    Raises:
        CheckpointError: If this is impossible.
    """
    from filelock import FileLock
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise CheckpointError(f'{path.parent} cannot be written: {error.strerror}; set MMVIT_HOME to another '
                              'folder') from error
    try:
        yield
    finally:
        lock.release()


def fetch_url(url: str) -> Path:
    """Returns the cached file of an http(s) URL, and downloads the file if it is missing; see :func:`fetch`.

    The file is in a folder named after the URL and its hash.
    """
    try:
        parts, digest = urlparse(url), hashlib.sha256(url.encode()).hexdigest()[:32]
        folder = f'{quote(url, safe="")[:100]}-{digest}'
    except ValueError as error:
        raise CheckpointError(f'checkpoint {url} is not a valid URL: {error}') from error
    suffix = '.safetensors' if parts.path.endswith('.safetensors') else '.pth'
    return fetch(PublishedFile(f'{folder}/checkpoint', '', (url, ), suffix=suffix), use_mirror=False)


def _download(target: Path, weights: PublishedFile, urls: list[str]) -> None:
    problems = []
    if weights.remark:
        print_log(f'{weights.name}: {weights.remark}', logger='current')
    for url in urls:
        try:
            incoming = _download_from(url, target, weights)
            if problem := problem_of_download(incoming):
                incoming.unlink()
                raise CheckpointError(f'{url}: the file {problem}')
        except CheckpointError as error:
            problems.append(str(error))
            continue
        os.replace(incoming, target)
        if problems:
            print_log(f'{target.name} was downloaded from {url} after errors: {"; ".join(problems)}',
                      logger='current')
        return
    raise CheckpointError(f'checkpoint {weights.name} cannot be downloaded: {"; ".join(problems)}. '
                          f'{_by_hand(weights, target)}')


def _by_hand(weights: PublishedFile, target: Path) -> str:
    """Returns what to do in a browser, and where to save the file."""
    url = weights.urls[0]
    clicks = BY_BROWSER.get(host_of(url), 'download the file').format(code=weights.access_code)
    return f'Open {url} in a browser, {clicks}, and save the file as {target}'


def _download_from(url: str, target: Path, weights: PublishedFile) -> Path:
    """Downloads a file to a temporary path, and returns this path; resumes an earlier partial download, if any."""
    if host_of(url) in BY_BROWSER:
        code = f' (access code {weights.access_code})' if weights.access_code else ''
        raise CheckpointError(f'{url}{code} requires a browser')
    try:
        import gdown
        import urllib3
    except ImportError as error:
        raise CheckpointError("downloads need gdown: pip install 'mmvit_backbones[weights]'") from error
    incoming = target.with_name(f'{target.name}.download')
    try:
        gdown.download(url, str(incoming), use_cookies=False, timeout=TIMEOUT, resume=True,
                       quiet=not (sys.stderr and sys.stderr.isatty()), retries=RETRIES)
    except (gdown.exceptions.DownloadError, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise CheckpointError(f'{url}: {" ".join(str(error).split())}') from error
    return incoming
