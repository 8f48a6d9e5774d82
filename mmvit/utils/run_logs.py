"""Reads what a training has logged, and keeps the logs of runs apart."""
import json
import os
import os.path as osp
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmvit_backbones.errors import UsageError

from .distributed import is_first_process
from .locks import lock_file


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


@contextmanager
def unused_second(cfg: Config) -> Iterator[None]:
    """Waits until no log of this second is in the work dir or in this process, and keeps other processes waiting."""
    if not is_first_process():
        yield
        return
    name = cfg.get('experiment_name') or osp.splitext(osp.basename(cfg.filename or ''))[0]
    with lock_file(osp.join(cfg.work_dir, '.start'), wait=True):
        while True:
            now = time.strftime('%Y%m%d_%H%M%S')
            logger = f'{name}_{now}' if name else now
            if not osp.exists(osp.join(cfg.work_dir, now)) and not MMLogger.check_instance_created(logger):
                break
            time.sleep(0.05)
        yield
