"""Atomic writes of checkpoints: a process that is killed while it writes leaves the previous file."""
import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


class AtomicBackend(LocalBackend):
    """MMEngine's backend for local files, which writes a temporary file and then renames it."""

    def put(self, obj: bytes | memoryview, filepath: str | Path) -> None:
        temporary = f'{filepath}.tmp'
        super().put(obj, temporary)  # pyright: ignore[reportArgumentType]  # MMEngine's annotation lacks memoryview
        os.replace(temporary, filepath)


register_backend('atomic', AtomicBackend)
