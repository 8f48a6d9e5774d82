"""Keeps the logs of runs apart."""
import os.path as osp
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.logging import MMLogger

from ..utils.distributed import is_first_process
from .locks import lock_file


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
