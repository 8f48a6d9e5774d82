"""Reads what a training has logged."""
import json
import os
from collections.abc import Iterator
from pathlib import Path

from mmvit_backbones.errors import UsageError


def logged(work_dir: Path) -> Iterator[tuple[Path, int, dict]]:
    """Yields the entries of a run's ``scalars.json``, of all its starts, each after its file and line.

    A last line that was cut off, as by a kill or on a full disk, is left out.

    Raises:
        UsageError: If there is no such file, or another line is no entry.
    """
    files = sorted(work_dir.glob('*/vis_data/scalars.json')) if os.path.isdir(work_dir) else []  # in order of time
    if not files:
        raise UsageError(f'{work_dir} has no TIME/vis_data/scalars.json, which every training run writes')
    for file in files:
        text = file.read_text(encoding='utf-8', errors='replace')
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if not isinstance(entry, dict):
                    raise ValueError(f'it is a {type(entry).__name__}')
            except ValueError as error:
                if number == len(lines) and not text.endswith('\n'):
                    continue
                raise not_an_entry(file, number, error) from error
            yield file, number, entry


def not_an_entry(file: Path, number: int, error: Exception) -> UsageError:
    return UsageError(f'{file}, line {number}, is not an entry of a training log: {error}')
