"""Turns a network and a folder of data into the finished config of a fine-tuning."""
import os.path as osp
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_outputs

from ..configs.files import RECIPE, metrics_of
from ..configs.openmmlab_scripts import shorthand_options
from ..configs.tasks import choose_task, find_task
from ..folders import FolderData, read_folder
from ..folders.folders import write_file
from ..folders.record import find_changes_since, find_data_folder, write_record
from ..folders.rules import raise_or_warn
from ..running.work_dir import HoldsTrainingError, holds_training
from ..utils.frameworks import import_quietly
from .arguments import FineTuning
from .config_files import write_sections
from .networks import Network, find_network
from .recipe import MODULES, Recipe, make_recipe, name_recipe, settle_size

WORK_DIRS = 'work_dirs'  # where the work dirs of trainings are by default
PLACES = 'data_root', 'data_prefix', 'ann_file', 'metainfo'  # of data, also in evaluators


def fine_tune(network: str | Mapping[str, Any], *, class_folder: str | None = None, coco_folder: str | None = None,
              seg_folder: str | None = None, size: int | Sequence[int] | None = None, epochs: int | None = None,
              iters: int | None = None, batch_size: int | None = None, accumulate: int = 1,
              lr: float | None = None, freeze: int | Literal['all'] | None = None, pretrained: bool | str = True,
              boxes_only: bool = False, val_fraction: float | None = None, split_seed: int = 0,
              early_stop: int | None = None, ema: bool = False, light: bool = False, seed: int | None = None,
              layer_decay: float | None = None,
              decay_type: Literal['layer_wise', 'stage_wise', 'level_wise'] = 'layer_wise',
              precision: str | None = None, compile: bool = False, workers: int | None = None, processes: int = 1,
              work_dir: str | None = None, out: str | None = None, check_files: bool = True) -> Config:
    """Returns the config that fine-tunes a network on a folder of data, after checking both.

    The config is complete: it trains here with :func:`~mmvit.running.train`, and as a file
    (:func:`save`) with `mmvit train` or the ``tools/train.py`` of its framework. No recipe is published for
    fine-tunings; this one is ours.

    Args:
        network, and all others: See :class:`FineTuning`.

    Raises:
        UsageError: If an argument is invalid, the folder has unusable content, or the work dir holds a training.

    Example:
        >>> from mmvit.recipes import fine_tune
        >>> cfg = fine_tune('reswin_tiny', coco_folder='data/coco_mini', size=256, epochs=2)  # doctest: +SKIP
    """
    return plan_fine_tuning(FineTuning(**locals())).config


def plan_fine_tuning(given: FineTuning, options: Mapping[str, Any] = MappingProxyType({})) -> Recipe:
    """Returns the recipe of a fine-tuning after checking its network and its folder, as :func:`fine_tune` does.

    Lists of the folder's images are written to the work dir. ``options``, such as ``{'a.b.c': value}``, replace
    settings of the recipe.
    """
    task, folder = given.data
    if given.light and task.name != 'detector':
        raise UsageError(f'light (--light) is for detectors and requires coco_folder, got {task.argument}')
    network = choose_network(given)
    work_dir = given.work_dir or osp.join(WORK_DIRS, name_recipe(network.name, task))
    if not given.out and holds_training(work_dir):
        raise HoldsTrainingError(work_dir)
    given, place = replace(given, work_dir=work_dir), given.out or osp.join(work_dir, RECIPE)
    data = read_folder(task.argument, folder, given.boxes_only, val_fraction=given.val_fraction,
                       split_seed=given.split_seed, out=place, check_files=given.check_files)
    write_record(place, task.argument, folder, data)
    raise_or_warn(data.problems if not given.check_files else ())
    return make_recipe(given, network, data, place, options)


def choose_network(given: FineTuning) -> Network:
    """Returns the network of a fine-tuning, with what is frozen.

    Raises:
        UsageError: If there is no such network, or it is for images of another size.
    """
    task, _ = given.data
    is_classifier = task.name == 'classifier'
    import_quietly(task.framework)  # in which names of networks may mean other classes
    network = find_network(given.network, given.pretrained, is_dense=not is_classifier)
    if given.freeze is not None:
        network = network.freeze(given.freeze)
    if network.image_size and (not is_classifier or settle_size(task, given.size) != network.image_size):
        height, width = network.image_size
        raise UsageError(f'network must take images of any size, got {given.network}, which takes {height} x {width} '
                         'pixels alone' + (f'; set size={height} (--size)' if is_classifier else ''))
    return network


def save(cfg: Config) -> str:
    """Writes a config of :func:`fine_tune` to the folder ``recipe`` of its work dir, and returns the file's path.

    Raises:
        UsageError: If the work dir holds a training, or the config would replace the one that the network is from.
    """
    path = Path(str(cfg.filename))
    if holds_training(cfg.work_dir):
        raise HoldsTrainingError(cfg.work_dir)
    check_outputs('work_dir (--work-dir)', [path], [cfg.recipe.get('network')])
    return write_file(path.parent, path.name, cfg.text)


def summary(cfg: Config) -> list[str]:
    """Returns the lines that say what a config of :func:`fine_tune` trains, which its text begins with."""
    return [line.removeprefix('# ') for line in takewhile(lambda line: line != '#', cfg.text.splitlines())]


def other_data(cfg: Config, *, class_folder: str | None = None, coco_folder: str | None = None,
               seg_folder: str | None = None, size: int | Sequence[int] | None = None, out: str) -> dict[str, Any]:
    """Returns the options that let a config of :func:`fine_tune` test on another folder, or with another image size.

    Args:
        cfg (Config): The config of the training.
        class_folder, coco_folder, seg_folder (str | None): Folder with the validation images and annotations of the
            same classes. Defaults to None: the validation images of the training, also if their folder is passed.
        size (int | Sequence[int] | None): Side of the images in pixels, or height and width, with their meaning in the
            training. Defaults to None: the training's.
        out (str): Folder for repaired annotation files and lists of images.

    Raises:
        UsageError: If the config is not of :func:`fine_tune`, the folder is for another task or its content unusable.
    """
    recipe = cfg.get('recipe')
    given = dict(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    if not recipe:
        name = next((name for name, value in given.items() if value), 'size')
        raise UsageError(f'{name} (--{name.replace("_", "-")}) is for a network and a folder, from which '
                         f'{cfg.filename} was not made; set test_dataloader and test_evaluator with '
                         'cfg_options (--cfg-options)')
    trained = find_task(cfg.default_scope)
    about, folder = choose_task(**given) if any(given.values()) else (trained, None)
    key = about.argument
    if about != trained:
        raise UsageError(f'{cfg.filename} was trained with {trained.argument}, got {key}={folder}')
    found = find_changes_since(cfg, folder) if folder else []
    if found and recipe.get('val_fraction') and osp.realpath(folder or '') == osp.realpath(find_data_folder(cfg)):
        raise UsageError(f'{key}={folder} has changed since the training, which split it at random: '
                         f'{"; ".join(found)}; without it, the validation images of the training are tested')
    recorded = _recorded_data(cfg)
    if found == []:
        data = _recorded_data(cfg, folder)
    else:
        data = read_folder(key, str(folder), key == 'coco_folder' and cfg.model.type != 'MaskRCNN', out=out,
                           classes=recorded.classes)
    make, trained_size = MODULES[about.name].make_evaluation, settle_size(about, recipe.get('size'))
    before = make(recorded, trained_size, cfg.model)
    after = make(data, settle_size(about, size) if size is not None else trained_size, cfg.model)
    tested = {name: carry_over(before[name], value, cfg[name], name) for name, value in after.items()
              if not name.startswith('val_')}
    for value in (tested, tested['test_dataloader']):
        value.update({name: {'_delete_': True, **each} for name, each in value.items() if isinstance(each, dict)})
    return tested


def carry_over(before: Any, after: Any, own: Any, place: str) -> Any:
    """Returns a setting of a run with what has changed between two settings of recipes.

    Args:
        before (Any): Setting of the recipe that the run had.
        after (Any): Setting of the other recipe.
        own (Any): Setting of the run, which may have been edited.
        place (str): Its key.

    Raises:
        UsageError: If the run has another value than the recipe where the recipes differ, but for places of data.
    """
    if before == after:
        return own
    if all(isinstance(value, Mapping) for value in (before, after, own)):
        names = [name for name in {**own, **after} if name in after or name not in before]
        return {name: carry_over(before.get(name), after[name], own.get(name), f'{place}.{name}') if name in after
                else own[name] for name in names}
    if all(isinstance(value, list) for value in (before, after, own)) and len(before) == len(after) == len(own):
        return [carry_over(*values, f'{place}.{i}') for i, values in enumerate(zip(before, after, own))]
    if own != before and place.rpartition('.')[2] not in PLACES:
        raise UsageError(f'{place} is {own!r} in the run and {before!r} in its recipe; set it with cfg_options '
                         '(--cfg-options), or test without another size and folder')
    return after


def _recorded_data(cfg: Config, folder: str | None = None) -> FolderData:
    """Returns the validation images of a training as its lists have them, in a folder that may have been moved."""
    if folder is not None:
        cfg = deepcopy(cfg)
        cfg.merge_from_dict(shorthand_options(cfg, data_root=folder))
    dataset, metric = cfg.val_dataloader.dataset.to_dict(), metrics_of(cfg, 'val')[0]
    val = {name: value for name, value in dataset.items() if name not in ('pipeline', 'test_mode')}
    return FolderData({}, val, tuple(val['metainfo']['classes']), 0, 0, 'segm' in metric.get('metric', ()),
                      metric.get('ann_file') or '')


def write_with_data(cfg: Config, out: str, **options: Any) -> str:
    """Writes the config of a test with other data (:func:`other_data`) to the folder ``out``; returns its file."""
    cfg, name = deepcopy(cfg), Path(str(cfg.filename)).name
    cfg.merge_from_dict(other_data(cfg, **options, out=out))
    return write_file(out, name, write_sections([f'The test of {name} with other data.'], [('', cfg.to_dict())]))
