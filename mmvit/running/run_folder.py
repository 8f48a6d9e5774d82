"""A run as a value: the config that trains, its folder, and what is recorded of its data."""
import os.path as osp
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from mmvit_backbones.errors import CheckpointNotFoundError, UsageError
from mmvit_backbones.utils.file_access import check_outputs
from mmvit_backbones.zoo.checkpoints import WEB, read_checkpoint
from mmvit_backbones.zoo.reading import LAST, find_checkpoint, last_of

from ..configs.files import BY_NAME, merge_options, read_config, read_saved
from ..fine_tuning import FineTuning
from ..folders.folders import write_file
from ..folders.record import RECORD, find_changes
from ..naming import kind_of
from ..utils.config_parts import SPLITS, datasets_of, metrics_of
from .work_dir import check_new

RECIPE = 'recipe'  # setting of a config, and the folder of its file, its lists and the record of the data
START = 'start.pth'  # beside a recipe: the weights of another training without the last layers


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and its config; that of a network and a folder of data has a folder ``recipe`` in it.

    The config of a run is the one inside the checkpoint that is used: it was there when the checkpoint was written, and
    no test changes it. Before the first checkpoint, it is the recipe.

    Args:
        config (Config): The config of the run; it is of the folder in which its file is, or of that around ``recipe``.
        file (str | None): The checkpoint whose config it is. Defaults to None: of a config that a person named.
        checkpoint (Mapping | None): What is in it. Defaults to None.
    """

    config: Config
    file: str | None = None
    checkpoint: Mapping | None = field(default=None, repr=False)

    @classmethod
    def open(cls, source: str | Config, needs: Sequence[str] = (), options: Mapping | None = None,
             remedy: str = BY_NAME, folder: str = '', mmap: bool = True, keeps_start: bool = False) -> 'RunFolder':
        """Returns a run that a person named, where it lies now: with its own lists, start and work dir.

        Args:
            source (str | Config): Work dir of a training, for its best checkpoint; a checkpoint, or an exported file
                beside one; a config, which is run; or what was read of a config.
            needs, options: As for :func:`.read_config`.
            remedy, keeps_start: As for :func:`.read_saved`.
            folder (str): Folder of the run. Defaults to that of the checkpoint, or ``work_dirs/NAME`` of a URL.
            mmap (bool): Whether the checkpoint is mapped, for callers that do not load it. Defaults to True.

        Raises:
            UsageError: As :func:`.read_config` and :func:`.read_saved`.
            CheckpointError: If the checkpoint does not exist or cannot be read.
        """
        if isinstance(source, Config) or kind_of(source) == 'config':
            run = cls(read_config(source, needs))
            is_finished = isinstance(source, str) and 'launcher' in run.config  # as those that MMEngine saves
            run._take_place(is_finished and osp.isfile(osp.join(run.path, LAST)))
        else:
            source = osp.dirname(source) or '.' if kind_of(source) == 'exported' else source
            try:
                file = find_checkpoint(source)
            except CheckpointNotFoundError:  # the training may have been stopped before its first one
                if not osp.isdir(source):
                    raise
                file = None
            is_url = '://' in source
            checkpoint = read_checkpoint(file, mmap=mmap) if file and (not is_url or file.startswith(WEB)) else None
            folder = folder or ('' if is_url else source if osp.isdir(source) else osp.dirname(source) or '.')
            cfg = read_saved(file or folder, checkpoint, folder, needs, remedy, RECIPE, keeps_start)
            run = cls(cfg, file, checkpoint)
            run._take_place(is_run=True)
        merge_options(run.config, options)
        return run

    @classmethod
    def create(cls, config: Config) -> 'RunFolder':
        """Writes the config of a network and a folder, which is then what trains, and returns its run.

        Raises:
            UsageError: If the work dir holds a training, or the config would replace the one that the network is from.
        """
        file = Path(str(config.filename))
        check_new(config.work_dir)
        check_outputs('work_dir (--work-dir)', [file], [config.recipe.get('network')])
        write_file(file.parent, file.name, config.text)
        return cls(config)

    @property
    def path(self) -> str:
        folder = osp.dirname(osp.abspath(str(self.config.filename)))
        return osp.dirname(folder) if osp.basename(folder) == RECIPE else folder

    @property
    def is_recipe(self) -> bool:
        """Returns whether the run is of a network and a folder."""
        return self.config.get(RECIPE) is not None

    @property
    def given(self) -> FineTuning:
        """Returns the arguments of a network and a folder from which the config was made.

        Raises:
            UsageError: If the setting ``recipe`` has others.
        """
        try:
            return FineTuning(**self.config.to_dict()[RECIPE])
        except TypeError as error:
            raise UsageError(f'{self.config.filename}: recipe must be the arguments of a network and a folder: '
                             f'{error}') from error

    @property
    def data_folder(self) -> str:
        """Returns the folder of the training data."""
        return datasets_of(self.config, 'train')[0].get('data_root') or ''

    def list_changes(self, folder: str | None = None) -> list[str] | None:
        """Returns what differs between a folder, or that of the data now, and the record of the one that trained.

        None without a record or a folder.
        """
        place = osp.join(self.path, RECIPE)
        if not osp.isfile(osp.join(place, RECORD)):
            return None
        folder = folder or self.data_folder
        return find_changes(place, folder) if osp.isdir(folder) else None

    def copy_to(self, work_dir: str) -> None:
        """Copies the folder ``recipe`` to another work dir, if the config is from there."""
        own, other = osp.join(self.path, RECIPE), osp.join(work_dir, RECIPE)
        if osp.dirname(osp.abspath(str(self.config.filename))) == own and osp.realpath(own) != osp.realpath(other):
            shutil.copytree(own, other, dirs_exist_ok=True)

    def _take_place(self, is_run: bool) -> None:
        """Gives a run the lists, the start and the work dir of its folder, which may have been moved or copied.

        MMEngine saves the config of a training that goes on with its checkpoint, which is not where it starts.
        """
        cfg, own = self.config, osp.join(self.path, RECIPE)
        if self.is_recipe:
            for part in [part for split in SPLITS for part in (*datasets_of(cfg, split), *metrics_of(cfg, split))]:
                place, name = osp.split(osp.join(part.get('data_root') or '', part.get('ann_file') or ''))
                if osp.basename(place) == RECIPE and osp.isfile(file := osp.join(own, name)):
                    part['ann_file'] = file
        if not is_run and not (self.is_recipe and osp.dirname(osp.abspath(str(cfg.filename))) == own):
            return
        if osp.realpath(self.path) != osp.realpath(cfg.get('work_dir') or ''):
            cfg.work_dir = self.path
        place, name = osp.split(cfg.get('load_from') or '')
        start = osp.join(own, START)
        if cfg.get('resume') or name == START or name and osp.realpath(place) == osp.realpath(self.path):
            cfg.resume, cfg.load_from = False, start if osp.isfile(start) else None


def open_resumed(work_dir: str, resume: str | bool = True) -> RunFolder:
    """Returns the run in a work dir, to go on with it, with the config inside the checkpoint from which it does.

    Args:
        work_dir (str): The work dir.
        resume (str | bool): The checkpoint, or a folder for its last one. Defaults to True: the work dir's last one.

    Raises:
        UsageError: If there is no checkpoint or config.
        CheckpointError: If the checkpoint cannot be read.
    """
    file = resumed_checkpoint(work_dir, resume)
    if file is None:
        raise UsageError(f'nothing to resume: {work_dir} has no {LAST}; pass the network and the folder, or the config')
    return RunFolder.open(file, remedy='first: mmvit train CONFIG --work-dir RUN --resume', folder=work_dir,
                          keeps_start=True)


def resumed_checkpoint(work_dir: str, resume: str | bool) -> str | None:
    """Returns the checkpoint from which a training goes on; None if there is none in its work dir.

    Raises:
        UsageError: If a folder that was named has none.
        CheckpointNotFoundError: If ``last_checkpoint`` names a missing file.
    """
    is_named = resume not in (True, 'auto')
    path = Path(str(resume)) if is_named else Path(work_dir, LAST)
    path = path / LAST if path.is_dir() else path
    if path.name != LAST:
        return str(path)
    if path.is_file():
        return last_of(path)
    if is_named:
        raise UsageError(f'nothing to resume: work dir {resume} has no {LAST}')
    return None
