"""Downloads the authors' checkpoints once into a cache, and checks the files.

The cache folder is ``$MMVIT_HOME``, or torch hub's folder ``checkpoints`` by default. ``$MMVIT_MIRROR`` is the base
URL of a mirror, which is tried first. A mirror has the authors' files under the same names as the cache.
"""
import glob
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlparse

import torch
from mmengine.logging import print_log

from ..errors import CheckpointError, UnreadCheckpointError, UsageError
from ..utils import web
from ..utils.file_access import replaced_when_complete
from .weights import BY_BROWSER, Weights, host_of

HASH = '.sha256'  # suffix of files that store a hash


def cache_folder() -> Path:
    home = os.environ.get('MMVIT_HOME')
    return Path(home).expanduser() if home else Path(torch.hub.get_dir(), 'checkpoints')


def cached_file(weights: Weights) -> Path:
    """Returns the cache path of published weights."""
    return cache_folder() / weights.file_name


def fetch(weights: Weights, use_mirror: bool = True) -> Path:
    """Returns the cached file of published weights, and downloads the file if it is missing.

    If several processes need the file, one process downloads it and the others wait. A cache that cannot be written
    serves the files that it has.

    Raises:
        CheckpointError: If no URL provides the file, the cached file has changed, or the cache folder cannot be
            written for a download; the message explains what to do.
    """
    mirror = os.environ.get('MMVIT_MIRROR', '').rstrip('/') if use_mirror else ''
    mirrored = [f'{mirror}/{quote(weights.file_name)}'] if mirror else []
    target = cached_file(weights)
    if not os.path.exists(target):
        with locked(cache_folder() / f'{weights.file_name}.lock'):
            if not os.path.exists(target):
                _download(target, weights, [*mirrored, *weights.urls])
    check_unchanged(target)
    return target


@contextmanager
def locked(path: Path, variable: str = 'MMVIT_HOME') -> Iterator[None]:
    """Locks a file in a cache, and creates its folder, which an environment variable sets.

    Raises:
        CheckpointError: If this is impossible.
    """
    from filelock import FileLock
    lock = FileLock(path)
    if path.parts[0] == '~':  # the user has neither HOME nor an entry in the system's list of users
        raise CheckpointError(f'{path.parent} cannot be written: there is no home folder; set {variable}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise CheckpointError(f'{path.parent} cannot be written: {error.strerror}; set {variable} to another '
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
    return fetch(Weights(f'{folder}/checkpoint', '', (url, ), suffix=suffix), use_mirror=False)


def _download(target: Path, weights: Weights, urls: list[str]) -> None:
    problems = []
    if weights.remark:
        print_log(f'{weights.name}: {weights.remark}', logger='current')
    for url in urls:
        try:
            incoming = _download_from(url, target, weights)
            _check_file(incoming, target)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        os.replace(incoming, target)
        record(target)
        if problems:
            print_log(f'{target.name} was downloaded from {url} after errors: {"; ".join(problems)}',
                      logger='current')
        return
    raise CheckpointError(f'checkpoint {weights.name} cannot be downloaded: {"; ".join(problems)}. '
                          f'{_by_hand(weights, target)}')


def _by_hand(weights: Weights, target: Path) -> str:
    """Returns what to do in a browser, and where to save the file."""
    url = weights.urls[0]
    browser = BY_BROWSER.get(host_of(url))
    clicks = browser.clicks.format(code=weights.access_code) if browser else 'download the file'
    member = f' with {weights.member!r} in its name' if weights.member else ''
    return f'Open {url} in a browser, {clicks}{member}, and save the file as {target}'


def _download_from(url: str, target: Path, weights: Weights) -> Path:
    """Downloads a file to a temporary path, and returns this path."""
    if host_of(url) in BY_BROWSER:
        code = f' (access code {weights.access_code})' if weights.access_code else ''
        raise CheckpointError(f'{url}{code} {BY_BROWSER[host_of(url)].reason}')
    incoming, link = target.with_name(f'{target.name}.download'), url
    try:
        if host_of(url) == 'Google Drive' and '/folders/' in url:
            link = _find_in_folder(url, weights.member)
        return _get(link, incoming)
    except UsageError as error:
        received = _received_bytes(incoming)
        kept = f'; the next call resumes the download at {received:,} bytes' if received else ''
        raise CheckpointError(f'{url}: {error}{kept}') from error


def _get(link: str, incoming: Path) -> Path:
    """Downloads a file, and resumes an earlier partial download if there is one."""
    while True:
        before = _received_bytes(incoming)
        try:
            web.receive(link, str(incoming))
            return incoming
        except UsageError as error:
            if not before or _received_bytes(incoming) != before or web.is_unreachable(error):
                raise
            _partial_files(incoming)[0].unlink()  # no progress: the server may be unable to resume, so start again


def _partial_files(incoming: Path) -> list[Path]:
    """Returns gdown's partial files of an unfinished download."""
    return sorted(incoming.parent.glob(f'{glob.escape(incoming.name)}????????.part'))


def _received_bytes(incoming: Path) -> int:
    return sum(part.stat().st_size for part in _partial_files(incoming))


def _find_in_folder(url: str, member: str) -> str:
    """Finds the one checkpoint with ``member`` in its name in a Google Drive folder, and returns its URL."""
    gdown = web.import_gdown()
    try:
        files = gdown.download_folder(
            url, skip_download=True, quiet=True, use_cookies=False, timeout=web.TIMEOUT)
    except (gdown.exceptions.DownloadError, OSError) as error:
        raise UsageError(web.reason_of(error)) from error
    named = [file for file in files if re.search(r'\.(pth|pt|bin|tar|safetensors)$', file.path)
             and member in file.path.lower()]
    if len(named) != 1:
        wanted = f'exactly one checkpoint with {member!r} in its name' if member else 'exactly one checkpoint'
        raise CheckpointError(f'{url} must contain {wanted}, but contains {[file.path for file in files]}')
    return f'https://drive.google.com/uc?id={named[0].id}'


# ---- checks


def _check_file(path: Path, target: Path) -> None:
    """Sets a downloaded file aside and raises CheckpointError if the file is invalid."""
    with open(path, 'rb') as file:
        start = file.read(4096)
    if start.lstrip()[:1] == b'<':
        title = re.search(rb'<title>(.*?)</title>', start, re.DOTALL | re.IGNORECASE)
        name = ' '.join(title[1].decode(errors='replace').split()) if title else 'no title'
        problem = f'the server sent a web page instead of the file ("{name}")'
    elif start[:2] == b'PK' and not is_archive(path):
        problem = 'the file is truncated'
    elif not start:
        problem = 'the file is empty'
    else:
        return
    raise CheckpointError(f'{problem}{set_aside(path, target)}')


def is_archive(path: Path) -> bool:
    """Returns whether a file is a complete archive; unlike ``is_zipfile``, raises OSError if it cannot be read."""
    try:
        zipfile.ZipFile(path).close()
    except zipfile.BadZipFile:
        return False
    return True


def set_aside(path: Path, target: Path) -> str:
    """Renames an invalid file, so that it can be inspected but is not loaded again; returns the end of the message."""
    bad = target.with_name(f'{target.name}.bad')
    try:
        os.replace(path, bad)
        _hash_file(path).unlink(missing_ok=True)
    except OSError:  # in a cache that cannot be written
        return ''
    return f'; the file was renamed to {bad}'


def hash_of(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UnreadCheckpointError(f'{path} cannot be read: {error.strerror}') from error
    return digest.hexdigest()


@contextmanager
def first_reading(path: Path, title: str = '') -> Iterator[None]:
    """Records the hash of a file without a record, such as one saved by hand, after the ``with`` block has read it.

    If the block raises CheckpointError, sets the file aside and raises a CheckpointError whose message
    begins with ``title``. A file that could not be read stays.
    """
    try:
        yield
    except UnreadCheckpointError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f'{title}{error.args[0]}{set_aside(path, path)}') from None
    if not is_recorded(path):
        with suppress(OSError, UsageError):  # of a cache that cannot be written
            record(path)


def record(path: Path) -> None:
    """Writes the SHA-256 of a file next to it in the format of ``sha256sum``, with the size in a comment."""
    with replaced_when_complete(_hash_file(path)) as part:
        part.write_text(f'{hash_of(path)}  {path.name}\n# {path.stat().st_size} bytes\n', encoding='utf-8')


def is_recorded(path: Path) -> bool:
    """Returns whether the hash of a file is recorded, which means that it was downloaded or loaded before."""
    return os.path.exists(_hash_file(path))


def check_unchanged(path: Path) -> None:
    """Raises CheckpointError if a file has another size than recorded, or if none is, another SHA-256."""
    if not is_recorded(path):
        return
    text = _hash_file(path).read_text(encoding='utf-8')
    size = re.search(r'^# (\d+) bytes$', text, re.MULTILINE)
    is_same = bool(size) and int(size[1]) == path.stat().st_size
    if not size:  # a record by sha256sum has none
        is_same = hash_of(path) == text[:64]
    if not is_same:
        raise CheckpointError(f'checkpoint {path} has changed since its SHA-256 was recorded, {text[:64]}. Delete '
                              f'{_hash_file(path).name} to accept the file, or both files to download it again')


def _hash_file(path: Path) -> Path:
    return path.with_name(f'{path.name}{HASH}')
