"""What `mmvit train` does with a network and a folder: finds out that it got them, writes their recipe, resumes it."""
import os.path as osp
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..fine_tuning import FIELDS, OPTIONS, FineTuning, setting_of, with_option
from ..frameworks.tasks import TASKS
from ..naming import resolve
from ..recipes.folder import plan_fine_tuning
from ..recipes.recipe import name_work_dir, summary
from ..running.openmmlab_scripts import tracker_options
from ..running.prepare import prepare_training
from ..running.run_folder import RunFolder, open_resumed
from ..running.work_dir import holds_training, reserve_work_dir

NETWORK = tuple(f'model.backbone.{name}' for name in ('type', 'name', 'arch', 'depth'))


def find_fine_tuning(config: str, given: Mapping[str, Any], data_root: str | None = None,
                     options: Mapping[str, Any] = MappingProxyType({}), launcher: str = 'none') -> FineTuning | None:
    """Returns the arguments for a network and a folder; None to run a config, or go on with a run, as it is.

    Args:
        config (str): Name of a network or a config, or a path.
        given (Mapping): Arguments of :func:`fine_tune` that were given.
        data_root (str | None): Folder of the data of a config. Defaults to None: none was given.
        options (Mapping): Settings that replace those of the config or the recipe. Defaults to none.
        launcher (str): Launcher of the processes, each of which would write the recipe. Defaults to 'none'.

    Raises:
        UsageError: If the name is neither a network nor a config, an option is for the other, or one of the settings
            follows from an argument.
    """
    own = [name for name in given if FIELDS[name].metadata['keys']]
    kind = resolve(config, 'train')
    if kind == 'network':
        if not any(given.get(task.argument) for task in TASKS):
            raise UsageError(f'{config} is a network; its task follows from the data: pass '
                             'class_folder (--class-folder), coco_folder (--coco-folder) or seg_folder (--seg-folder), '
                             'or the name of a config')
        if data_root:
            raise UsageError('data_root (--data-root) is for a config; a network is trained on a folder')
        if launcher != 'none':
            raise UsageError(f'launcher={launcher} (--launcher {launcher}) takes a finished config: '
                             f'mmvit train {config} ... --work-dir RUN --processes N --check writes '
                             'RUN/recipe/NAME.py for N processes, which '
                             f'mmvit train RUN/recipe/NAME.py --launcher {launcher} starts')
        check_keys(options)
        return FineTuning(network=config, **given)
    if own and kind == 'config':
        option = 'pretrained=False (--no-pretrained)' if given[own[0]] is False else with_option(own[0])
        raise UsageError(f'{option} is for a network and a folder, but {config} is a config; set '
                         f'{setting_of(own[0])} with cfg_options (--cfg-options). A recipe with other '
                         'arguments is made by the command that made it, with another work_dir (--work-dir)')
    return None


def check_keys(options: Mapping[str, Any]) -> None:
    """Raises UsageError if a setting follows from arguments of a fine-tuning, on which others depend, too."""
    for key, value in options.items():
        named = [with_option(name) for name in OPTIONS if key in FIELDS[name].metadata['keys']]
        if named := named + ['the name of the network'] * (key in NETWORK):
            raise UsageError(f'cfg_options {key}={value}: with a network and a folder, it follows from '
                             f'{" or ".join(named)}; pass that')


@contextmanager
def prepare_fine_tuning(given: FineTuning, named: Mapping[str, Any], *, processes: int = 1, check: bool = False,
                        resume: str | bool = False, cfg_options: Mapping[str, Any] = MappingProxyType({}),
                        auto_scale_lr: bool = False, tensorboard: bool = False, wandb: bool = False, **others: Any
                        ) -> Iterator[Config]:
    """Yields the finished config of a new fine-tuning, whose recipe has all options, or of one that goes on.

    Nobody else can take its work dir meanwhile.

    Args:
        given (FineTuning): Its arguments.
        named (Mapping): Those that were given.
        processes, check, resume: As for :func:`.prepare_training`.
        cfg_options, auto_scale_lr, tensorboard, wandb, **others: Arguments of :func:`.training_config`.

    Raises:
        UsageError: If the work dir holds a training that is not to go on, or an argument differs from that of the
            training; and as :func:`.prepare_training`.
    """
    task, folder = given.data
    work_dir = given.work_dir or name_work_dir(str(given.network), task)
    options = {**cfg_options, **tracker_options(task.visualizer, tensorboard, wandb),
               **({'auto_scale_lr.enable': True} if auto_scale_lr else {})}
    with reserve_work_dir(work_dir, resume):
        if is_new := not holds_training(work_dir):
            config = plan_fine_tuning(replace(given, work_dir=work_dir, processes=processes), options)
            run, others = RunFolder.create(config), {}
            print(*summary(config), f'config      {config.filename}', sep='\n', flush=True)
        else:
            run = open_resumed(work_dir, resume)
            moved = osp.realpath(folder) != osp.realpath(run.data_folder)
            others = {name: value for name, value in others.items() if name in ('seed', 'precision', 'compile')}
            others |= dict(cfg_options=options, data_root=folder if moved else None,
                           given=dict(named, network=given.network))
        yield prepare_training(run, processes=processes, check=check, checks_data=not is_new, resume=resume, **others)
