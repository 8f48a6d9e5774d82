"""Turns a network and a folder of data into the finished config of a fine-tuning."""
import math
import os.path as osp
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_outputs, replaced_when_complete

from ..configs.files import RECIPE, metrics_of
from ..configs.machine import loading_with, settings_here
from ..configs.scripts import shorthand_options
from ..configs.tasks import Task, choose_task, find_task
from ..folders import FolderData, read_folder
from ..folders.record import folder_of, found_changes, write_record
from ..folders.rules import raise_or_warn
from ..running.work_dir import HoldsTrainingError, holds_training, unused_name
from ..utils.distributed import warn
from ..utils.limits import SIDE
from . import classifier, detector, segmenter
from .arguments import AUTO, FineTuning
from .batch_size import check_device, largest_batch_size
from .config_text import Name, Section, text_of
from .networks import Network, find_network
from .schedule import LR, PRETRAINED_MULT, Schedule, epochs_for
from .starts import Start, find_start

MODULES: dict[str, Any] = dict(classifier=classifier, detector=detector, segmenter=segmenter)
WORK_DIRS = 'work_dirs'  # where the work dirs of trainings are by default
LIGHT_SAVES = 'half of the time'  # of steps by turns, EfficientNet-Lite0 at the size 256: CPU time of 6.5 and 3.1 s


def fine_tune(network: str | Mapping[str, Any], *, class_folder: str | None = None, coco_folder: str | None = None,
              seg_folder: str | None = None, size: int | Sequence[int] | None = None, epochs: int | None = None,
              iters: int | None = None, batch_size: int | Literal['auto'] | None = None, accumulate: int = 1,
              lr: float | None = None, freeze: int | Literal['all'] | None = None, pretrained: bool | str = True,
              prefix: str | None = None, boxes_only: bool = False, val_fraction: float | None = None,
              split_seed: int = 0, early_stop: int | None = None, ema: bool = False, light: bool = False,
              seed: int | None = None, layer_decay: float | None = None,
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
    arguments = FineTuning(**locals())
    given = SimpleNamespace(**vars(arguments))  # with values in place of defaults
    about, folder = arguments.data
    key, task = about.argument, MODULES[about.name]
    is_auto = batch_size == AUTO
    if light and task is not detector:
        raise UsageError(f'light (--light) is for detectors and requires coco_folder, got {key}')
    if is_auto:
        check_device()
    given.size = _size(task, size)
    found = find_network(network, pretrained, is_dense=task is not classifier)
    if prefix:
        found = found.with_prefix(prefix)
    if freeze is not None:
        found = found.frozen(freeze)
    if found.image_size and (task is not classifier or given.size != found.image_size):
        height, width = found.image_size
        raise UsageError(f'network must take images of any size, got {network}, which takes {height} x {width} pixels '
                         'alone' + (f'; set size={height} (--size)' if task is classifier else ''))
    title = title_of(found.name, about)
    if work_dir and not out and holds_training(work_dir):
        raise HoldsTrainingError(work_dir)
    given.work_dir = work_dir or (unused_name if not out else str)(osp.join(WORK_DIRS, title))
    here = settings_here()
    given.precision = precision or here['precision']
    given.workers = here['workers'] if workers is None else workers
    place = out or osp.join(given.work_dir, RECIPE)
    data = read_folder(key, folder, boxes_only, val_fraction=val_fraction, split_seed=split_seed, out=place,
                       check_files=check_files)
    write_record(place, key, folder, data)
    raise_or_warn(data.problems if not check_files else ())
    if task is detector:
        for text in detector.about_objects(data, given.size)[1]:
            warn(text)

    def config(images: int, network: Network = found, data: FolderData = data, start: Start | None = None) -> Config:
        """Returns the config for a number of images per process and step."""
        given.batch_size = images
        recorded = replace(arguments, batch_size=images if is_auto else batch_size).list_changes()
        decided = {name: value for name, value in here.items() if name not in recorded}
        text = _text(about, network, data, given, {**recorded, **(dict(here=decided) if decided else {})}, start)
        cfg = Config.fromstring(text, '.py')
        return Config(cfg.to_dict(), cfg_text=text, filename=osp.join(given.work_dir, RECIPE, f'{title}.py'))

    images = (largest_batch_size(config(1).text, data.num_train // processes, processes) if is_auto else
              batch_size or task.BATCH_SIZE)
    cfg = config(images)
    if isinstance(pretrained, str) and not prefix:
        one_more = config(images, data=replace(data, classes=(*data.classes, '')))
        if start := find_start(pretrained, cfg, one_more, data.classes, place):
            cfg = config(images, found.without_weights(), start=start)
    return cfg


def title_of(network: str, task: Task) -> str:
    """Returns the name of a recipe: that of the network and the task."""
    return f'{re.sub("[/:]", "_", network)}_{task.name}'  # as Windows allows it


def _text(about: Task, network: Network, data: FolderData, given: SimpleNamespace, recorded: dict[str, Any],
          start: Start | None) -> str:
    """Returns the text of a config.

    Args:
        about (Task): The task.
        network (Network): The network.
        data (FolderData): The data.
        given (SimpleNamespace): Arguments of :func:`fine_tune`, with values in place of most defaults.
        recorded (dict): Those arguments that the text has.
        start (Start | None): Checkpoint of the whole model.
    """
    task = MODULES[about.name]
    images = given.batch_size * given.processes
    steps_per_epoch = math.ceil(data.num_train / images)
    lr, mult = (LR, PRETRAINED_MULT) if network.is_pretrained else (task.LR_OF_RANDOM_WEIGHTS, 1.)
    peak = given.lr or lr * math.sqrt(images * given.accumulate / task.BATCH_SIZE)
    if start and start.is_whole:  # nothing is new
        peak, mult = peak * mult, 1.
    schedule = Schedule(
        epochs=given.epochs or (math.ceil(given.iters / steps_per_epoch) if given.iters else
                                epochs_for(data.num_train)),
        steps_per_epoch=steps_per_epoch, images_per_step=images,
        lr=peak, accumulate=given.accumulate, pretrained_mult=mult,
        layer_decay=given.layer_decay or (0.9 if network.is_pretrained else 1.0), decay_type=given.decay_type,
        precision=given.precision, early_stop=given.early_stop, ema=given.ema, compile=given.compile)
    loading = loading_with(given.workers)
    # the text has the classes once, as metainfo
    named = replace(data, **{part: {**getattr(data, part), 'metainfo': Name('metainfo')} for part in ('train', 'val')})
    own = dict(light=given.light, precision=given.precision) if task is detector else {}
    model = task.model(network, data, **own)
    tested = task.tests(named, given.size, model['model'])
    trained = task.training(named, given.size, given.batch_size, network, schedule.epochs)
    used, unit = images * given.accumulate, 'update' if given.accumulate > 1 else 'step'
    rate = '' if given.lr else (f': {lr:g} for {_count(task.BATCH_SIZE, "image")} per {unit}' + (
        f', times the square root of {used}/{task.BATCH_SIZE}' if used != task.BATCH_SIZE else ''))
    summary = _summary(network, about.name, data, schedule, given, getattr(given, about.argument), rate, start)
    return text_of([*summary, *USAGE], [
        Section('', dict(task.frame(data), custom_imports=dict(imports=list(network.imports)))),
        Section('What was given, for `mmvit test` on other folders and `mmvit train --resume`.',
                dict(recipe=recorded)),
        Section(f'The model: {len(data.classes)} classes.', model),
        Section('The data.', dict(metainfo=data.train['metainfo'], **_loaders(trained, tested, loading))),
        Section(f'{_count(schedule.epochs, "epoch")}: 5 % of the steps as warm-up, then cosine decay.',
                {**schedule.loops(), **schedule.optimization(),
                 **(dict(randomness=dict(seed=given.seed)) if given.seed is not None else {})}),
        Section('Checkpoints are written as a whole and at SIGTERM; training stops if the loss is not finite; a '
                'resumed run equals an uninterrupted one.', schedule.hooks(about)),
        Section('', dict(work_dir=given.work_dir, **(dict(load_from=start.file) if start else {}))),
    ])


USAGE = ['', 'Paths are relative to the folder from which the training is started:',
         'mmvit train THIS_FILE, or python tools/train.py THIS_FILE of the framework.']


def _loaders(trained: dict, tested: dict, loading: dict) -> dict[str, Any]:
    """Returns the loaders and the metrics of a config, of what a task says of them."""
    sampler = dict(type='DefaultSampler', shuffle=False)
    is_same = tested['test_evaluator'] == tested['val_evaluator']
    validated = tested['val_dataloader']
    dataset = {**validated['dataset'], 'pipeline': Name('test_pipeline')}  # mmseg's inference_model reads this name
    return dict(
        train_dataloader={**trained, **loading, 'sampler': dict(sampler, shuffle=True)},
        test_pipeline=validated['dataset']['pipeline'],
        val_dataloader={**validated, 'dataset': dataset, **loading, 'sampler': sampler},
        val_evaluator=tested['val_evaluator'], test_dataloader=Name('val_dataloader'),
        test_evaluator=Name('val_evaluator') if is_same else tested['test_evaluator'], **_augmentation(tested))


def _augmentation(tested: dict) -> dict[str, Any]:
    """Returns what a task says of test-time augmentation."""
    return {name: value for name, value in tested.items() if name.startswith('tta_')}


def save(cfg: Config) -> str:
    """Writes a config of :func:`fine_tune` to the folder ``recipe`` of its work dir, and returns the file's path.

    Raises:
        UsageError: If the work dir holds a training, or the config would replace the one that the network is from.
    """
    path = Path(str(cfg.filename))
    if holds_training(cfg.work_dir):
        raise HoldsTrainingError(cfg.work_dir)
    check_outputs('work_dir (--work-dir)', [path], [cfg.recipe.get('network')])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(path) as part:
        part.write_text(cfg.text, encoding='utf-8')
    return str(path)


def summary(cfg: Config) -> list[str]:
    """Returns the lines that say what a config of :func:`fine_tune` trains, which are its first comments."""
    lines = cfg.text.splitlines()
    return [line.removeprefix('# ') for line in lines[:lines.index('#')]]


def other_data(cfg: Config, *, class_folder: str | None = None, coco_folder: str | None = None,
               seg_folder: str | None = None, size: int | Sequence[int] | None = None, out: str) -> dict[str, Any]:
    """Returns the options that let a config of :func:`fine_tune` test on another folder, or with another image size.

    Args:
        cfg (Config): The config of the training.
        class_folder, coco_folder, seg_folder (str | None): Folder with the validation images and annotations of the
            same classes. Defaults to None: the validation images of the training, also if their folder is passed.
        size (int | Sequence[int] | None): As in :func:`fine_tune`. Defaults to None: the training's.
        out (str): Folder for repaired annotation files and lists of images.

    Raises:
        UsageError: If the config is not of :func:`fine_tune`, the folder is for another task or its content unusable.
    """
    recipe = cfg.get('recipe')
    given = dict(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    if not recipe:
        name = next((name for name, value in given.items() if value), 'size')
        raise UsageError(f'{name} (--{name.replace("_", "-")}) is for a network and a folder, from which '
                         f'{cfg.filename} was not made; set test_dataloader and test_evaluator with --cfg-options')
    trained = find_task(cfg.default_scope)
    about, folder = choose_task(**given) if any(given.values()) else (trained, None)
    key, task = about.argument, MODULES[about.name]
    if about != trained:
        raise UsageError(f'{cfg.filename} was trained with {trained.argument}, got {key}={folder}')
    if folder is None or (found := found_changes(cfg, folder)) == []:
        data = _recorded_data(cfg, folder)
    elif found and recipe.get('val_fraction') and osp.realpath(folder) == osp.realpath(folder_of(cfg)):
        raise UsageError(f'{key}={folder} has changed since the training, which split it at random: '
                         f'{"; ".join(found)}; without it, the validation images of the training are tested')
    else:
        data = read_folder(key, folder, key == 'coco_folder' and cfg.model.type != 'MaskRCNN', out=out,
                           classes=cfg.val_dataloader.dataset.metainfo.classes)
    tested = task.tests(data, _size(task, size if size is not None else recipe.get('size')), cfg.model)
    loader = {**tested['test_dataloader'], 'num_workers': cfg.test_dataloader.num_workers,
              'persistent_workers': False, 'sampler': dict(type='DefaultSampler', shuffle=False)}
    loader['dataset'] = {'_delete_': True, **loader['dataset']}  # otherwise merged with that of the training
    return dict(test_dataloader=loader, test_evaluator=tested['test_evaluator'], **_augmentation(tested))


def _recorded_data(cfg: Config, folder: str | None) -> FolderData:
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
    path, text = Path(out, name), text_of([f'The test of {name} with other data.'], [Section('', cfg.to_dict())])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(path) as part:
        part.write_text(text, encoding='utf-8')
    return str(path)


def _size(task: Any, size: int | Sequence[int] | None) -> tuple[int, int]:
    """Returns height and width of the images of a task, or for detectors the largest short and long side."""
    if size is None:
        return task.SIZE
    sides = (size, ) if isinstance(size, int) else tuple(size)
    if not 1 <= len(sides) <= 2 or not all(map(SIDE.allow, sides)):
        raise UsageError(f'size must be one or two sides, each {SIDE}, got {size}')
    if len(sides) == 1:  # the other one by the ratio of the default
        sides = sides[0], round(task.SIZE[1] * sides[0] / task.SIZE[0])
    return (min(sides), max(sides)) if task is detector else (sides[0], sides[1])


def _summary(network: Network, task: str, data: FolderData, schedule: Schedule, given: SimpleNamespace, folder: str,
             rate: str, start: Start | None) -> list[str]:
    weights = network.backbone.get('init_cfg') or {}
    is_detector = task == 'detector'
    model = ('Mask R-CNN' if data.has_masks else 'Faster R-CNN, boxes only') if is_detector else dict(
        classifier='classifier', segmenter='UperNet')[task]
    shown = ', '.join(data.classes[:5]) + (', ...' if len(data.classes) > 5 else '')
    source = weights.get('checkpoint') or ('its pretrained weights' if network.is_pretrained else 'random weights')
    if start:
        source = f'the whole model of {given.pretrained}' + ('' if start.is_whole else ', but its last layers')
    hint = ''
    if is_detector and not given.light and not torch.cuda.is_available():
        hint = f'; without a GPU, --light saves {LIGHT_SAVES}'
    size = given.size
    return [
        f'network     {network.name}, {"light " if given.light else ""}{model}, starting from {source}{hint}',
        f'data        {folder}: {data.num_train} training images, {data.num_val} validation images',
        f'classes     {len(data.classes)}: {shown}',
        *([f'objects     {detector.about_objects(data, size)[0]}'] if is_detector else []),
        f'image size  {size[0]} x {size[1]}' + (
            f' at most, short x long side; in the training, short sides from {round(detector.SCALES[0] * size[0])} on'
            if is_detector else ' (height x width)'),
        f'length      {_count(schedule.epochs, "epoch")} of {_count(schedule.steps_per_epoch, "step")}, '
        f'{_count(schedule.images_per_step, "image")} per step'
        + (f', {schedule.images_per_step * schedule.accumulate} per update of the weights'
           if schedule.accumulate > 1 else '') + '; validation every '
        + ('epoch' if schedule.val_interval == 1 else f'{schedule.val_interval} epochs'),
        f'rate        AdamW, {schedule.lr:.3g} at its peak'
        + (f' for new layers, {schedule.lr * schedule.pretrained_mult:.3g} for pretrained ones'
           if schedule.pretrained_mult != 1 else '') + rate
        + (f'; times {schedule.layer_decay} per {schedule.decay_type.removesuffix("_wise")} towards the stem'
           if schedule.layer_decay < 1 else '') + f'; {schedule.precision}' + '; averaged weights' * schedule.ema
        + '; compiled' * schedule.compile,
        *([f'frozen      {_frozen(network)}'] if given.freeze is not None else []),
        f'work dir    {given.work_dir}',
    ]


def _frozen(network: Network) -> str:
    """Returns how much of a backbone is frozen, and the memory without its gradients and AdamW's two states."""
    frozen, total = network.num_parameters
    return (f'{frozen / 1e6:.1f} of {total / 1e6:.1f} million parameters of the backbone, which saves '
            f'{3 * 4 * frozen / 1e6:.0f} MB of gradients and optimizer states')


def _count(number: int, unit: str) -> str:
    return f'1 {unit}' if number == 1 else f'{number} {unit}s'
