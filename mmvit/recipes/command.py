"""Decides what `mmvit train` trains: a config as it is, or a network on a folder."""
import os.path as osp
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.device import get_device

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.messages import near_names
from mmvit_backbones.zoo.variants import VARIANTS

from ..configs.files import RECIPE, is_config, named_configs
from ..configs.tasks import TASKS, Task, choose_task
from ..running.work_dir import unused_name
from ..utils.devices import has_mixed_precision
from .arguments import AUTO, FIELDS, FineTuning
from .folder import WORK_DIRS, plan_fine_tuning, save
from .networks import TIMM
from .recipe import name_recipe


class Recipe(NamedTuple):
    """A network and a folder, as `mmvit train` got them.

    Args:
        network (str): Name of the network.
        given (Mapping): Arguments of :func:`fine_tune` that were given, except the work dir.
        task (Task): The task.
        folder (str): The folder.
    """

    network: str
    given: Mapping[str, Any]
    task: Task
    folder: str

    @property
    def base(self) -> str:
        """Returns the work dir by default, without a number."""
        return osp.join(WORK_DIRS, name_recipe(self.network.removeprefix(TIMM), self.task))

    def place(self, work_dir: str | None = None) -> tuple[str, str]:
        """Returns the work dir, that which is given or an unused one, and the file in which the recipe will be."""
        work_dir = work_dir or unused_name(self.base)
        return work_dir, osp.join(work_dir, RECIPE, f'{osp.basename(self.base)}.py')

    def write(self, work_dir: str, processes: int) -> str:
        """Writes the recipe and its lists to a work dir, prints what it trains, and returns its file.

        Raises:
            UsageError: If an argument is invalid or the folder has unusable content.
        """
        recipe = plan_fine_tuning(FineTuning(
            network=self.network, **self.given, work_dir=work_dir, processes=processes))
        file = save(recipe.config)
        print(*recipe.summary, f'config      {file}', sep='\n', flush=True)
        return file

    def check_same(self, recorded: Mapping[str, Any], work_dir: str) -> None:
        """Raises UsageError if an argument was given that differs from that of the training in a work dir."""
        for name, value in dict(self.given, network=self.network).items():
            before = recorded.get(name, FIELDS[name].default)
            is_same = before == value or name == 'batch_size' and value == AUTO or name == self.task.argument and before
            if not is_same and not (isinstance(value, (list, tuple)) and list(value) == list(before or ())):
                what = f'{name}={before}' if before is not None else f'no {name}'
                raise UsageError(f'work dir {work_dir} holds a training with {what}, which --resume cannot change, got '
                                 f'{name}={value}; the same command without --resume, with another --work-dir, trains '
                                 'with it from the start')


def recipe_of(config: str, given: Mapping[str, Any], others: Mapping[str, Any]) -> Recipe | None:
    """Returns the recipe of a network and a folder; None to run a config, or go on with a run, as it is.

    Args:
        config (str): Name of a network or a config, or a path.
        given (Mapping): Arguments of :func:`fine_tune` that were given.
        others (Mapping): Those that a config takes, too.

    Raises:
        UsageError: If the name is neither a network nor a config, or an option is for the other.
    """
    given = {name: value for name, value in given.items() if name not in ('work_dir', 'processes')}
    own = [name for name in given if FIELDS[name].metadata['key']]
    if config in VARIANTS or config == 'resnet50' or config.startswith(TIMM):
        folders = {task.argument: given.get(task.argument) for task in TASKS}
        if not any(folders.values()):
            example = f', e.g. mask_rcnn_{VARIANTS[config].short_name}' if config in VARIANTS else ''
            raise UsageError(f'{config} is a network; its task follows from the data: pass --class-folder, '
                             f'--coco-folder or --seg-folder, or the name of a config{example}')
        if others.get('data_root'):
            raise UsageError('--data-root is for a config; a network is trained on a folder')
        precision = given.get('precision')
        if precision in ('float16', 'bfloat16') and not has_mixed_precision():
            raise UsageError(f'{"--amp" if precision == "float16" else "--bf16"}: MMEngine has no mixed precision on '
                             f'{get_device()}')
        return Recipe(config, {name: value for name, value in given.items() if name != 'network'},
                      *choose_task(**folders))
    if not is_config(config) and not osp.exists(config):
        raise UsageError(f'{config} is neither a network nor a config' + near_names(config, VARIANTS, 'networks')
                         + near_names(config, named_configs(), 'configs'))
    if own:
        option = '--no-pretrained' if given.get('pretrained') is False else f'--{own[0].replace("_", "-")}'
        raise UsageError(f'{option} is for a network and a folder, but {config} is a config; set '
                         f'{FIELDS[own[0]].metadata["key"]} with --cfg-options. A recipe with other '
                         'arguments is made by the command that made it, with another --work-dir')
    return None
