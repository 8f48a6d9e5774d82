"""What `mmvit train` does with a network and a folder: finds out that it got them, writes their recipe, resumes it."""
import os.path as osp
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.variants import VARIANTS

from ..configs.files import config_of, named_configs
from ..configs.naming import resolve
from ..configs.tasks import TASKS
from ..folders.record import find_data_folder
from ..utils.devices import has_mixed_precision
from .arguments import FIELDS, OPTIONS, FineTuning, find_difference
from .folder import WORK_DIRS, plan_fine_tuning, save
from .networks import TIMM
from .recipe import name_recipe

PARTS = 'data_root', 'ann_file', 'data_prefix', 'checkpoint'  # of settings that an argument makes


def find_fine_tuning(config: str, given: Mapping[str, Any], data_root: str | None = None,
                     options: Mapping[str, Any] = MappingProxyType({})) -> FineTuning | None:
    """Returns the arguments for a network and a folder; None to run a config, or go on with a run, as it is.

    Args:
        config (str): Name of a network or a config, or a path.
        given (Mapping): Arguments of :func:`fine_tune` that were given.
        data_root (str | None): Folder of the data of a config. Defaults to None: none was given.
        options (Mapping): Settings that replace those of the config or the recipe. Defaults to none.

    Raises:
        UsageError: If the name is neither a network nor a config, an option is for the other, or one of the settings
            follows from an argument.
    """
    own = [name for name in given if FIELDS[name].metadata['key']]
    if resolve(config, 'train') == 'network':
        if not any(given.get(task.argument) for task in TASKS):
            detector = f'mask_rcnn_{VARIANTS[config].short_name}' if config in VARIANTS else ''
            example = f', e.g. {detector}' if detector in named_configs() else ''
            raise UsageError(f'{config} is a network; its task follows from the data: pass '
                             'class_folder (--class-folder), coco_folder (--coco-folder) or seg_folder (--seg-folder), '
                             f'or the name of a config{example}')
        if data_root:
            raise UsageError('data_root (--data-root) is for a config; a network is trained on a folder')
        check_keys(options)
        precision = given.get('precision')
        if precision in ('float16', 'bfloat16') and not has_mixed_precision():
            raise UsageError(f'precision={precision}: MMEngine has no mixed precision on {get_device()}')
        return FineTuning(network=config, **given)
    if own:
        option = 'pretrained=False (--no-pretrained)' if given.get('pretrained') is False else (
            f'{own[0]} (--{own[0].replace("_", "-")})')
        raise UsageError(f'{option} is for a network and a folder, but {config} is a config; set '
                         f'{FIELDS[own[0]].metadata["key"]} with cfg_options (--cfg-options). A recipe with other '
                         'arguments is made by the command that made it, with another work_dir (--work-dir)')
    return None


def check_keys(options: Mapping[str, Any]) -> None:
    """Raises UsageError if a setting follows from arguments of a fine-tuning, on which others depend, too."""
    for key, value in options.items():
        named = [name for name in OPTIONS if key in (
            owned := FIELDS[name].metadata['key'].partition(' ')[0], *(f'{owned}.{part}' for part in PARTS))]
        if named:
            raise UsageError(f'cfg_options {key}={value}: with a network and a folder, it follows from '
                             f'{" or ".join(named)}; pass that')


def name_base(given: FineTuning) -> str:
    """Returns the work dir of a fine-tuning by default."""
    return osp.join(WORK_DIRS, name_recipe(str(given.network).removeprefix(TIMM), given.data[0]))


def write_recipe(given: FineTuning, options: Mapping[str, Any]) -> Config:
    """Writes the recipe and its lists to the work dir, prints what it trains, and returns its config."""
    config, summary = plan_fine_tuning(given, options)
    print(*summary, f'config      {save(config)}', sep='\n', flush=True)
    return config


def find_moved(given: Mapping[str, Any], folder: str, work_dir: str) -> dict[str, Any]:
    """Returns the options with which a training in a work dir goes on: ``data_root`` if its folder was moved.

    Args:
        given (Mapping): Arguments of :func:`fine_tune` that were given, with the network.
        folder (str): The folder.
        work_dir (str): The work dir.

    Raises:
        UsageError: If an argument differs from that of the training.
    """
    cfg = config_of(None, work_dir)
    if found := find_difference(given, cfg.get('recipe') or {}):
        name, before, value = found
        what = f'{name}={before}' if before is not None else f'no {name}'
        raise UsageError(f'work dir {work_dir} holds a training with {what}, which resuming cannot change, got '
                         f'{name}={value}; the same command without it, with another work_dir (--work-dir), trains '
                         'with it from the start')
    return {} if osp.realpath(folder) == osp.realpath(find_data_folder(cfg)) else dict(data_root=folder)
