"""Prepares a training or a test once, before any process of it is started: all checks, and a finished config."""
import os.path as osp
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

from mmengine.config import Config

from mmvit_backbones.errors import CheckpointNotFoundError, UsageError
from mmvit_backbones.utils.file_access import problem_of_file
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.reading import LAST, find_checkpoint

from ..configs.files import RECIPE, config_of
from ..configs.naming import list_kinds, path_hint, resolve
from ..configs.official import config_of_network
from ..configs.openmmlab_scripts import testing_config, training_config
from ..configs.outputs import check_test_outputs
from ..configs.settings import check_settings
from ..folders.data_set_files import check_data
from ..folders.record import find_changes_since, find_data_folder
from ..utils.distributed import is_first_process, warn
from .rehearsal import rehearse
from .work_dir import HoldsTrainingError, holds_training


class Prepared(NamedTuple):
    """The finished config of a run, and what its other processes read to get the same one.

    Args:
        cfg (Config): The finished config.
        config (str): File or name of the config, or the work dir that has it; '' for that beside the checkpoint.
        checkpoint (str | None): What is tested: a checkpoint, or the work dir that stands for it. Defaults to None.
        data_root (str | None): The folder of the data, if it is not that of the config. Defaults to None.
    """

    cfg: Config
    config: str
    checkpoint: str | None = None
    data_root: str | None = None

    @property
    def arguments(self) -> list[str]:
        """Returns the arguments with which the command gets the same config in other processes."""
        moved = ['--data-root', self.data_root] if self.data_root else []
        return ['--prepared', self.config, self.checkpoint or '', self.cfg.work_dir, *moved]


def prepare_training(config: str | Config, *, processes: int = 1, check: bool = False, checks_data: bool = True,
                     resume: str | bool = False, **options: Any) -> Prepared:
    """Returns a training after checking all that it will use.

    Args:
        config (str | Config): File or name of a config, or with ``resume`` the work dir of a training; or the content
            of its file.
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
    cfg = training_config(config, resume=resume, **options)
    check_processes(cfg, processes)
    check_settings(cfg)
    if checks_data and not check_folder(cfg):
        check_data(cfg, ['train', 'val'])
    if is_first_process():
        check_work_dir(cfg, check)
    is_timed = 'recipe' in cfg and processes == 1 and not resume
    if check and (told := rehearse(cfg, processes, is_timed=is_timed)):
        print(told, flush=True)
    if resume in (True, 'auto') and not osp.isfile(osp.join(cfg.work_dir, LAST)) and is_first_process():
        print(f'nothing to resume in {cfg.work_dir}: a new training starts', flush=True)
    return Prepared(cfg, config if isinstance(config, str) else str(cfg.filename), data_root=options.get('data_root'))


def check_work_dir(cfg: Config, check: bool) -> None:
    """Checks that a config can be trained in its work dir, and copies a recipe of another work dir there.

    Raises:
        UsageError: If it holds a training, which a recipe does not replace.
    """
    lists, own = osp.dirname(osp.abspath(cfg.filename)), osp.join(cfg.work_dir, RECIPE)
    if 'recipe' in cfg and holds_training(cfg.work_dir):
        if not cfg.get('resume'):
            raise HoldsTrainingError(cfg.work_dir)
    elif 'recipe' in cfg and not check and osp.basename(lists) == RECIPE and osp.realpath(lists) != osp.realpath(own):
        shutil.copytree(lists, own, dirs_exist_ok=True)


def check_processes(cfg: Config, processes: int) -> None:
    """Raises UsageError if a recipe is for another number of processes."""
    made_for = cfg.recipe.get('processes', 1) if 'recipe' in cfg else processes
    if made_for != processes:
        raise UsageError(f'{cfg.filename} is for processes={made_for} (--processes {made_for}), from which its steps '
                         f'and its learning rate follow, got {processes}; start {made_for}, or make it for '
                         f'{processes} in another work dir')


def check_folder(cfg: Config) -> bool:
    """Returns whether a config is a recipe whose folder is as recorded, so that its files are not looked at again.

    Raises:
        UsageError: If it has changed.
    """
    found = find_changes_since(cfg, find_data_folder(cfg)) if 'recipe' in cfg else None
    if found:
        raise UsageError(f'{find_data_folder(cfg)} has changed since the training in {cfg.work_dir}: '
                         f'{"; ".join(found)}. It goes on with the same data only; for a new training with these data '
                         f'from its weights: mmvit train NETWORK --pretrained {cfg.work_dir}, with the folder')
    return found is not None


def prepare_test(config: str, checkpoint: str | None, *, with_data: Callable[..., str] | None = None,
                 is_exported: bool = False, check: bool = False, work_dir: str | None = None,
                 **options: Any) -> Prepared:
    """Returns a test after checking all that it will use.

    Args:
        config (str): File or name of a config, or of a network; or the work dir of a training, or its checkpoint.
        checkpoint (str | None): File, URL or ``official://`` name of the weights. None: of the work dir.
        with_data (Callable | None): Takes the config and a folder for lists, and returns the file of a config with
            other data. Defaults to None: the data of the config.
        is_exported (bool): Whether the checkpoint is a file of `mmvit export`. Defaults to False.
        check (bool): Whether to build the test, which does not start. Defaults to False.
        work_dir (str | None): Folder for logs and metrics. Defaults to None: ``test`` in the work dir of the training.
        **options: Arguments of :func:`testing_config`.

    Raises:
        UsageError: If an option or the data cannot be used.
        CheckpointError: If the checkpoint cannot be read.
    """
    named, source, weights, base = find_tested(config, checkpoint)
    work_dir = work_dir or default_work_dir(base)
    if with_data:
        named, source = with_data(base, osp.join(work_dir, 'data')), weights
    elif 'recipe' in base and (found := find_changes_since(base, find_data_folder(base))):
        warn(f'{find_data_folder(base)} has changed since the training: {"; ".join(found)}; the lists of the training '
             'are used')
    cfg = testing_config(named if with_data else base, weights, work_dir=work_dir, **options)
    check_data(cfg, ['test'])
    check_test_outputs(cfg)
    if is_exported:
        if reason := problem_of_file(weights):
            raise CheckpointNotFoundError(f'{weights} {reason}')
    elif check:
        rehearse(cfg, is_test=True)
    else:
        read_checkpoint(cfg.load_from, mmap=True)  # a damaged one is refused before anything is written
    return Prepared(cfg, named or '', source)


def find_tested(config: str, checkpoint: str | None) -> tuple[str | None, str, str, Config]:
    """Returns the config that was named, the checkpoint or its work dir, the checkpoint, and the config's content."""
    if checkpoint is not None:
        config = config_of_network(config, checkpoint) or config
        resolve(config, 'config')
        return config, checkpoint, find_checkpoint(checkpoint), config_of(config, None)
    if resolve(config, 'test') in ('config', 'network'):
        raise UsageError(f'test takes {list_kinds("test")} with a CHECKPOINT; got {config} without one'
                         f'{path_hint(config)}')
    checkpoint = find_checkpoint(config)
    cfg = config_of(None, config, remedy=f'first: mmvit test CONFIG {checkpoint}')
    if is_first_process():
        print(f'checkpoint  {checkpoint}\nconfig      {cfg.filename}', flush=True)
    return None, config, checkpoint, cfg


def default_work_dir(cfg: Config) -> str:
    """Returns the folder ``test`` in that of the training, whose files must not be replaced."""
    folder = osp.dirname(cfg.filename)
    if osp.exists(osp.join(folder, LAST)):  # the config is of a run, which may have been moved
        return osp.join(folder, 'test')
    return osp.join(cfg.get('work_dir') or osp.join('work_dirs', osp.splitext(osp.basename(cfg.filename))[0]), 'test')
