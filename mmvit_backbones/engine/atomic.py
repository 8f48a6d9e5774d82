"""Atomic writes of checkpoints and predictions: a process that is killed while it writes leaves the previous file."""
import glob
import shutil
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..errors import TrainingError, UsageError
from ..utils.file_access import part_of, replaced_when_complete

PREFIX = 'atomic://'  # before a path, where MMEngine takes no backend_args


class AtomicBackend(LocalBackend):
    """MMEngine's backend for local files, which replaces a file when the new one is complete.

    A config names it by ``backend_args=dict(backend='atomic')``, or for a file that is written by ``atomic://PATH``.

    Raises:
        TrainingError: If it cannot be written, e.g. on a full disk; nothing of it is left.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        path = Path(str(filepath).removeprefix(PREFIX))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f'{glob.escape(part_of(path))}*.part'):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with replaced_when_complete(path) as part:
                part.write_bytes(obj)
        except OSError as error:
            raise TrainingError(f'{path} cannot be written: {error.strerror}') from error
        except UsageError as error:  # a full disk
            raise TrainingError(str(error)) from error

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


register_backend('atomic', AtomicBackend, prefixes=PREFIX.removesuffix('://'))
