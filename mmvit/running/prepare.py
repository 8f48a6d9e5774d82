"""Prepares a training or a test once, before any process of it is started: all checks, and a finished config."""
import os
import os.path as osp
import sys
from collections.abc import Callable
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_file
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.reading import find_checkpoint

from ..configs.official import config_of_network
from ..configs.outputs import check_test_outputs
from ..configs.settings import check_settings
from ..naming import kind_of, list_kinds, path_hint, resolve
from ..utils.distributed import is_first_process, warn
from .data_set_files import check_data
from .openmmlab_scripts import test_dir_of, testing_config, training_config
from .rehearsal import rehearse
from .run_folder import RunFolder
from .work_dir import check_new, holds_training

DISPLAYS = 'DISPLAY', 'WAYLAND_DISPLAY', 'MPLBACKEND'  # the last one names another way to show, such as a notebook's


def prepare_training(run: RunFolder, *, processes: int = 1, check: bool = False, checks_data: bool = True,
                     resume: str | bool = False, **options: Any) -> Config:
    """Returns the finished config of a training after checking all that it will use.

    Args:
        run (RunFolder): The run.
        processes (int): Number of processes on all machines. Defaults to 1.
        check (bool): Whether to rehearse the training, which does not start. Defaults to False.
        checks_data (bool): Whether to check the data, too; of a recipe that was just written, they are known. Defaults
            to True.
        resume, **options: Arguments of :func:`training_config`.

    Raises:
        UsageError: If an option, the data, the settings or the work dir cannot be used, or a recipe is for another
            number of processes; or if ``resume`` is to go on with a folder that has changed.
        CheckpointError: If the checkpoint to start from does not fit.
    """
    cfg = training_config(run, resume=resume, **options)
    check_processes(cfg, processes)
    check_settings(cfg)
    if checks_data and not check_folder(RunFolder(cfg)):
        check_data(cfg, ['train', 'val'])
    if is_first_process() and run.is_recipe:
        if not resume:
            check_new(cfg.work_dir)
        if not check and not holds_training(cfg.work_dir):
            run.copy_to(cfg.work_dir)
    is_timed = run.is_recipe and processes == 1 and not resume
    if check and (told := rehearse(cfg, processes, is_timed=is_timed)):
        print(told, flush=True)
    if resume and not cfg.resume and is_first_process():
        print(f'nothing to resume in {cfg.work_dir}: a new training starts', flush=True)
    return cfg


def check_processes(cfg: Config, processes: int) -> None:
    """Raises UsageError if a recipe is for another number of processes."""
    run = RunFolder(cfg)
    made_for = run.given.processes if run.is_recipe else processes
    if made_for != processes:
        raise UsageError(f'{cfg.filename} is for processes={made_for} (--processes {made_for}), from which its steps '
                         f'and its learning rate follow, got {processes}; start {made_for}, or make it for '
                         f'{processes} in another work dir')


def check_folder(run: RunFolder) -> bool:
    """Returns whether a run is of a folder that is as recorded, so that its files are not looked at again.

    Raises:
        UsageError: If it has changed.
    """
    found = run.list_changes()
    if found:
        raise UsageError(f'{run.data_folder} has changed since the training in {run.config.work_dir}: '
                         f'{"; ".join(found)}. It goes on with the same data only; for a new training with these data '
                         f'from its weights: mmvit train NETWORK --pretrained {run.config.work_dir}, with the folder')
    return found is not None


def prepare_test(config: str, checkpoint: str | None, *, with_data: Callable[..., Config] | None = None,
                 check: bool = False, work_dir: str | None = None, **options: Any) -> Config:
    """Returns the finished config of a test after checking all that it will use.

    Args:
        config (str): File or name of a config, or of a network; or the work dir of a training, or its checkpoint.
        checkpoint (str | None): File, URL or ``official://`` name of the weights, or an exported file. None: of the
            work dir.
        with_data (Callable | None): Takes the run and a folder for lists, and returns its config with other data.
            Defaults to None: the data of the config.
        check (bool): Whether to build the test, which does not start. Defaults to False.
        work_dir (str | None): Folder for logs and metrics. Defaults to None: ``test`` in the work dir of the training.
        **options: Arguments of :func:`testing_config`.

    Raises:
        UsageError: If an option or the data cannot be used.
        CheckpointError: If the checkpoint cannot be read.
    """
    if options.get('show') and sys.platform == 'linux' and not any(map(os.environ.get, DISPLAYS)):
        raise UsageError(f'show (--show) needs a display, but none of {", ".join(DISPLAYS)} is set; show_dir '
                         '(--show-dir) saves the drawings')
    run, weights = find_tested(config, checkpoint)
    base, work_dir = run.config, work_dir or test_dir_of(run.config)
    if with_data:
        base = with_data(run, out=osp.join(work_dir, 'data'))
    elif found := run.list_changes():
        warn(f'{run.data_folder} has changed since the training: {"; ".join(found)}; the lists of the training are '
             'used')
    cfg = testing_config(base, weights, work_dir=work_dir, **options)
    check_data(cfg, ['test'])
    check_test_outputs(cfg)
    if kind_of(weights) == 'exported':
        check_file(weights, 'model')
    elif check:
        rehearse(cfg, is_test=True)
    elif run.file != cfg.load_from:
        read_checkpoint(cfg.load_from, mmap=True)  # a damaged one is refused before anything is written
    return cfg


def find_tested(config: str, checkpoint: str | None) -> tuple[RunFolder, str]:
    """Returns the run that is tested, or that of a config that was named, and the checkpoint."""
    if checkpoint is not None:
        config = config_of_network(config, checkpoint) or config
        resolve(config, 'config')
        return RunFolder.open(config), find_checkpoint(checkpoint)
    if resolve(config, 'test') in ('config', 'network'):
        raise UsageError(f'test takes {list_kinds("test")} with a CHECKPOINT; got {config} without one'
                         f'{path_hint(config)}')
    checkpoint = find_checkpoint(config)
    run = RunFolder.open(config, remedy=f'first: mmvit test CONFIG {checkpoint}')
    if is_first_process():
        print(f'checkpoint  {checkpoint}, with the config inside it', flush=True)
    return run, checkpoint
