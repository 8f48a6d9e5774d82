"""A run as a value: the config that trains, its folder, and what is recorded of its data."""
import os.path as osp
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_outputs

from ..configs.files import BY_NAME, SPLITS, datasets_of, is_config, merge_options, metrics_of, read_config, read_saved
from ..folders.folders import write_file
from ..folders.record import RECORD, find_changes
from .work_dir import check_new

RECIPE = 'recipe'  # setting of a config, and the folder of its file, its lists and the record of the data


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and its config; that of a network and a folder of data has a folder ``recipe`` in it.

    Args:
        config (Config): The config of the run; it is of the folder in which its file is, or of that around ``recipe``.
    """

    config: Config

    @classmethod
    def open(cls, source: str | None, config: str | Config | None = None, needs: Sequence[str] = (),
             options: Mapping | None = None, remedy: str = BY_NAME) -> 'RunFolder':
        """Returns the run of ``config``, or else of the config that a training saved in its work dir, which is not run.

        Its lists and annotations are those in its folder, which may have been moved.

        Args:
            source (str | None): Work dir of a training, or a checkpoint in it.
            config (str | Config | None): Config that a person named, or that was read; or the work dir of a training.
            needs, options: As for :func:`.read_config`.
            remedy (str): How a person names a config, for messages.

        Raises:
            UsageError: If there is no such config, or several, or it has more than values and registered classes; and
                as :func:`.read_config`.
            CheckpointNotFoundError: If the checkpoint does not exist.
        """
        if isinstance(config, str) and osp.isdir(config) and not is_config(config):
            config, source = None, config
        if config is None and source is None:
            raise UsageError('pass the work dir of a training or a checkpoint, or a config (--config) with '
                             'pretrained=True (--pretrained)')
        run = cls(read_saved(str(source), needs, remedy, RECIPE) if config is None else read_config(config, needs))
        if run.given is not None:
            run._use_own_lists()
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
    def given(self) -> Mapping[str, Any] | None:
        """Returns the arguments of a network and a folder from which the config was made; None for other configs."""
        return self.config.get(RECIPE)

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

    def _use_own_lists(self) -> None:
        cfg, lists = self.config, osp.join(self.path, RECIPE)
        for part in [part for split in SPLITS for part in (*datasets_of(cfg, split), *metrics_of(cfg, split))]:
            place, name = osp.split(osp.join(part.get('data_root') or '', part.get('ann_file') or ''))
            if osp.basename(place) == RECIPE and osp.isfile(own := osp.join(lists, name)):
                part['ann_file'] = own
        is_recipe = osp.dirname(osp.abspath(str(cfg.filename))) == lists
        if is_recipe and osp.realpath(self.path) != osp.realpath(cfg.get('work_dir') or ''):
            cfg.work_dir = self.path
