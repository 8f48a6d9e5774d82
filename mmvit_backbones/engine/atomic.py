"""Atomic writes of checkpoints and predictions: a process that is killed while it writes leaves the previous file."""
import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from ..errors import TrainingError

PREFIX = 'atomic://'  # before a path, where MMEngine takes no backend_args


class AtomicBackend(LocalBackend):
    """MMEngine's backend for local files, which writes a temporary file and then renames it.

    A config names it by ``backend_args=dict(backend='atomic')``, or for a file that is written by ``atomic://PATH``.

    Raises:
        TrainingError: If it cannot be written, e.g. on a full disk; the temporary file is removed.
    """

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        filepath = str(filepath).removeprefix(PREFIX)
        temporary = f'{filepath}.tmp'
        try:
            super().put(obj, temporary)  # pyright: ignore[reportArgumentType]  # MMEngine's annotation lacks memoryview
            os.replace(temporary, filepath)
        except OSError as error:
            Path(temporary).unlink(missing_ok=True)  # it would keep a full disk full
            raise TrainingError(f'{filepath} cannot be written: {error.strerror}') from error


register_backend('atomic', AtomicBackend, prefixes=PREFIX.removesuffix('://'))
