"""Turns a network and a folder of data into the finished config of a fine-tuning."""
import os.path as osp
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..fine_tuning import FineTuning, with_option
from ..folders import read_folder
from ..folders.record import write_record
from ..frameworks import task_of
from ..frameworks.building import import_quietly
from ..frameworks.tasks import CLASSIFIER, choose_task
from ..running.openmmlab_scripts import shorthand_options
from ..running.run_folder import RECIPE, RunFolder
from ..running.work_dir import check_new
from ..utils.config_parts import datasets_of, metrics_of
from .networks import Network, find_network
from .recipe import MODULES, make_recipe, name_work_dir, settle_size


def fine_tune(network: str | Mapping[str, Any], *, class_folder: str | None = None, coco_folder: str | None = None,
              seg_folder: str | None = None, size: int | Sequence[int] | None = None, epochs: int | None = None,
              iters: int | None = None, batch_size: int | None = None, accumulate: int = 1,
              lr: float | None = None, freeze: int | Literal['all'] | None = None, pretrained: bool | str = True,
              boxes_only: bool = False, val_fraction: float | None = None, split_seed: int = 0,
              early_stop: int | None = None, ema: bool = False, light: bool = False, seed: int | None = None,
              layer_decay: float | None = None, precision: str | None = None, compile: bool = False,
              workers: int | None = None, processes: int = 1, work_dir: str | None = None, check_files: bool = True
              ) -> Config:
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
    return plan_fine_tuning(FineTuning(**locals()))


def plan_fine_tuning(given: FineTuning, options: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """Returns the config of a fine-tuning after checking its network and its folder, as :func:`fine_tune` does.

    Lists of the folder's images are written to the work dir. ``options``, such as ``{'a.b.c': value}``, replace
    settings of the recipe.
    """
    task, folder = given.data
    if given.light and task.name != 'detector':
        raise UsageError(f'light (--light) is for detectors and requires coco_folder, got {task.argument}')
    network = choose_network(given)
    work_dir = given.work_dir or name_work_dir(network.name, task)
    check_new(work_dir)
    given, place = replace(given, work_dir=work_dir), osp.join(work_dir, RECIPE)
    data = read_folder(task.argument, folder, given.boxes_only, val_fraction=given.val_fraction,
                       split_seed=given.split_seed, out=place)
    data.check(given.check_files)
    write_record(place, task.argument, folder, data)
    return make_recipe(given, network, data, place, options)


def choose_network(given: FineTuning) -> Network:
    """Returns the network of a fine-tuning, with what is frozen.

    Raises:
        UsageError: If there is no such network, or it is for images of another size.
    """
    task, _ = given.data
    is_classifier = task == CLASSIFIER
    import_quietly(task.framework)  # in which names of networks may mean other classes
    network = find_network(given.network, given.pretrained, task.settings)
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
    return str(RunFolder.create(cfg).config.filename)


def test_on(run: RunFolder, *, class_folder: str | None = None, coco_folder: str | None = None,
            seg_folder: str | None = None, size: int | Sequence[int] | None = None, out: str) -> Config:
    """Returns the config of a run with the data of another folder, or with another image size, in its test.

    All else of the test stays as it is, also if it was edited.

    Args:
        run (RunFolder): The run of a network and a folder.
        class_folder, coco_folder, seg_folder (str | None): Folder with the validation images and annotations of the
            same classes. Defaults to None: the validation images of the training, also if their folder is passed.
        size (int | Sequence[int] | None): Side of the images in pixels, or height and width, with their meaning in the
            training. Defaults to None: the training's.
        out (str): Folder for repaired annotation files and lists of images.

    Raises:
        UsageError: If the config is not of :func:`fine_tune`, the folder is for another task or its content unusable,
            or a step that another size changes was edited.
    """
    cfg, folders = deepcopy(run.config), dict(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    if not run.is_recipe:
        name = next((name for name, value in folders.items() if value), 'size')
        raise UsageError(f'{with_option(name)} is for a network and a folder, from which '
                         f'{cfg.filename} was not made; set test_dataloader and test_evaluator with '
                         'cfg_options (--cfg-options)')
    task = task_of(cfg)
    if any(folders.values()):
        named, folder = choose_task(**folders)
        if named != task:
            raise UsageError(f'{cfg.filename} was trained with {task.argument}, got {named.argument}={folder}')
        use_folder(cfg, run, task.argument, folder, out)
    if size is not None:
        has_masks = 'segm' in metrics_of(cfg, 'val')[0].get('metric', ())
        before, after = (MODULES[task].make_pipelines(settle_size(task, each), has_masks)
                         for each in (run.given.size, size))
        parts = [(part, 'pipeline', 'test_pipeline') for part in datasets_of(cfg, 'test')]
        parts += [(cfg, key, key) for key in after if key == 'tta_pipeline']
        for part, key, name in parts:
            if part[key] != before[name]:
                raise UsageError(f'size (--size): the {name.replace("_", " ")} of the run was edited; set its sizes '
                                 'with cfg_options (--cfg-options)')
            part[key] = after[name]
    return cfg


test_on.__test__ = False  # of pytest  # pyright: ignore[reportFunctionMemberAccess]


def use_folder(cfg: Config, run: RunFolder, argument: str, folder: str, out: str) -> None:
    """Gives the test of a run the images of a folder; those of the training's lists, if the folder is the same."""
    found = run.list_changes(folder)
    if found == []:
        cfg.merge_from_dict(shorthand_options(cfg, data_root=folder))
        return
    if found and run.given.val_fraction and osp.realpath(folder) == osp.realpath(run.data_folder):
        raise UsageError(f'{argument}={folder} has changed since the training, which split it at random: '
                         f'{"; ".join(found)}; without it, the validation images of the training are tested')
    classes = tuple(datasets_of(cfg, 'val')[0]['metainfo']['classes'])
    boxes_only = argument == 'coco_folder' and cfg.model.type != 'MaskRCNN'
    data = read_folder(argument, folder, boxes_only, out=out, classes=classes)
    data.check()
    for dataset in datasets_of(cfg, 'test'):
        dataset.update({name: value for name, value in data.val.items() if name != 'metainfo'})
    for metric in metrics_of(cfg, 'test'):
        if 'ann_file' in metric:
            metric['ann_file'] = data.val_file
