"""The recipe of a fine-tuning as a value: the finished config, and what a person reads of it."""
import math
import os.path as osp
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.initialization import loading_part
from mmvit_backbones.utils.openmmlab_models import type_name

from ..configs.backbone import setting_of
from ..configs.files import is_config, merge_options
from ..configs.machine import KEYS, OF_MACHINE, find_settings_here, make_loading
from ..fine_tuning import ALL, FineTuning, with_option
from ..folders import FolderData
from ..folders.record import read_counts
from ..frameworks import task_of
from ..frameworks.tasks import CLASSIFIER, DETECTOR, SEGMENTER, Task
from ..running.run_folder import RECIPE, START, RunFolder
from ..utils.config_parts import datasets_of
from ..utils.limits import SIDE
from . import classifier, detector, segmenter
from .config_files import write_sections
from .networks import TIMM, Network, without_weights
from .plan import Plan
from .schedule import MOST_LR, MOST_PRETRAINED_LR, PRETRAINED_MULT, Schedule
from .starts import Start, find_start

Section = tuple[str, Mapping[str, Any]]  # comment and settings
MODULES: dict[Task, Any] = {CLASSIFIER: classifier, DETECTOR: detector, SEGMENTER: segmenter}
DETECTORS = dict(MaskRCNN='Mask R-CNN', FasterRCNN='Faster R-CNN, boxes only')
USAGE = ['', 'Paths are relative to the folder from which the training is started:',
         'mmvit train THIS_FILE, or python tools/train.py THIS_FILE of the framework.']


def make_recipe(given: FineTuning, network: Network, data: FolderData, folder: str,
                options: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """Returns the config of a fine-tuning, whose ``text`` is its file, which begins with what it trains.

    Args:
        given (FineTuning): Its arguments, with a work dir.
        network (Network): The network.
        data (FolderData): The data.
        folder (str): Folder for the weights of another training without its last layers.
        options (Mapping): Settings that replace the recipe's, such as ``{'a.b.c': value}``. Defaults to none.

    Raises:
        UsageError: If the framework of the task is not installed, or an option does not fit.
    """
    task, _ = given.data
    if find_spec(task.framework) is None:
        raise UsageError(f'{with_option(task.argument)} needs {task.framework}, which is not installed')
    module, here, recorded = MODULES[task], find_settings_here(), given.list_given()
    of_machine = [name for name in here if name not in recorded and not any(map(KEYS[name].match, options))]
    settled: dict[str, Any] = {**here, **recorded}
    data = replace(data, val={**data.val, 'metainfo': data.train['metainfo']})
    plan = Plan(given=given, network=network, data=data, size=settle_size(task, given.size),
                batch_size=given.batch_size or module.BATCH_SIZE, precision=settled['precision'])
    lr, limit = (module.LR, MOST_LR) if network.weights else (module.LR_OF_RANDOM_WEIGHTS, math.inf)
    peak = given.lr or min(lr * math.sqrt(plan.images_per_step * given.accumulate / module.BATCH_SIZE), limit)
    mult = min(PRETRAINED_MULT, MOST_PRETRAINED_LR / peak) if network.weights else 1.
    model, frame, start = module.make_model(plan), module.make_frame(plan), Start(None, [])
    if network.weights:
        planned = finish_config([('', frame), ('', model)], '', '')
        merge_options(planned, {key: value for key, value in options.items() if key.startswith('model.')})
        start = find_start(network, planned, data.classes, folder)
        if start.file:
            model = module.make_model(replace(
                plan, network=replace(network, backbone=without_weights(network.backbone))))
        if not start.new:
            peak, mult = peak * mult, 1.
    schedule = Schedule(plan=plan, lr=peak, pretrained_mult=mult, new=start.new,
                        layer_decay=given.layer_decay or (0.9 if network.weights else 1.))
    pipelines = module.make_pipelines(plan.size, data.has_masks)
    evaluation = module.make_evaluation(plan, pipelines['test_pipeline'])
    loader = module.make_train_loader(plan)
    sections = [
        ('', dict(frame, custom_imports=dict(imports=[*network.imports, *module.IMPORTS]))),
        ('What was given, for `mmvit test` on other folders and `mmvit train --resume`.',
         dict(recipe=recorded)),
        ('What `mmvit train` makes anew on another machine; take out what you edit below.', {OF_MACHINE: of_machine}),
        (f'The model: {len(data.classes)} classes.', model),
        ('The data.', dict(metainfo=data.train['metainfo'], **pipelines,
                           **complete_loaders(loader, evaluation, make_loading(settled['workers'])))),
        (f'{count(plan.epochs, "epoch")}: {count(schedule.warm_up, "step")} of warm-up, then cosine decay.',
         {**schedule.make_loops(), **schedule.make_optimization()}),
        ('Checkpoints are written as a whole and at SIGTERM; training stops if the loss is not finite; a resumed run '
         'equals an uninterrupted one.', schedule.make_hooks(task)),
        ('The run.', dict(**(dict(randomness=dict(seed=given.seed)) if given.seed is not None else {}),
                          work_dir=given.work_dir, **(dict(load_from=start.file) if start.file else {})))]
    file = osp.join(str(given.work_dir), RECIPE, f'{name_recipe(network.name, task)}.py')
    sections = set_options(sections, options, file)
    cfg = finish_config(sections, '# recipe', file)
    return Config(cfg.to_dict(), write_sections([*summary(cfg), *USAGE], sections), file)


def set_options(sections: list[Section], options: Mapping[str, Any], file: str) -> list[Section]:
    """Returns sections with options in those that have their first keys, as whole settings; others in a last one."""
    if not options:
        return sections
    cfg = finish_config(sections, '# recipe', file)
    based = {name: value for name, value in finish_config(sections[:1], '', '').items() if name not in sections[0][1]}
    merge_options(cfg, options)
    changed: dict[str, Any] = {}
    for name in dict.fromkeys(key.partition('.')[0] for key in options):
        value = cfg.to_dict()[name]
        replaces = isinstance(value, dict) and isinstance(based.get(name), dict)
        changed[name] = {'_delete_': True, **value} if replaces else value
    own = [(comment, {name: changed.pop(name, value) for name, value in part.items()}) for comment, part in sections]
    return [*own, *([('Given with cfg_options.', changed)] if changed else [])]


def finish_config(sections: Sequence[Section], text: str, file: str) -> Config:
    """Returns the config of sections, with the settings of its base files."""
    settings = {name: value for _, part in sections for name, value in part.items()}
    cfg = Config(cfg_text=text, filename=file)
    for base in settings.pop('_base_', ()):
        cfg.merge_from_dict(get_config(base).to_dict())
    cfg.merge_from_dict(ConfigDict(settings))
    return cfg


def name_recipe(network: str, task: Task) -> str:
    """Returns the name of a recipe: that of the network and the task."""
    return f'{re.sub("[/:]", "_", network.removeprefix(TIMM))}_{task.name}'  # as Windows allows it


def name_work_dir(network: str, task: Task) -> str:
    """Returns the work dir of a recipe by default."""
    return osp.join('work_dirs', name_recipe(network, task))


def settle_size(task: Task, size: int | Sequence[int] | None) -> tuple[int, int]:
    """Returns height and width of the images of a task, or for detectors the largest short and long side."""
    if size is None:
        return task.size
    sides = (size, ) if isinstance(size, int) else tuple(size)
    if not 1 <= len(sides) <= 2:
        raise UsageError(f'size must be one or two sides, each {SIDE}, got {size}')
    if len(sides) == 1:  # the other one by the ratio of the default
        sides = sides[0], round(task.size[1] * sides[0] / task.size[0])
    return (min(sides), max(sides)) if task == DETECTOR else (sides[0], sides[1])


def complete_loaders(loader: dict, evaluation: dict, loading: dict) -> dict[str, Any]:
    """Returns the loaders and the metrics of a config, of those of a task; the test has those of the validation."""
    sampler, metrics = dict(type='DefaultSampler', shuffle=False), evaluation['val_evaluator']
    both = {**evaluation['val_dataloader'], **loading, 'sampler': sampler}
    return {'train_dataloader': {**loader, **loading, 'sampler': dict(sampler, shuffle=True)},
            **evaluation, 'val_dataloader': both, 'test_dataloader': both, 'test_evaluator': metrics}


def summary(cfg: Config) -> list[str]:
    """Returns the lines that say what a finished config trains, also a published or an edited one.

    The settings say it. The arguments in ``recipe`` add what these do not show, where there are some.
    """
    run, task = RunFolder(cfg), task_of(cfg)
    given, (backbone, _) = run.given if run.is_recipe else None, setting_of(cfg)
    is_frozen = given is not None and given.freeze == ALL
    network = given.network if given and isinstance(given.network, str) else backbone['type']
    name = Path(network).stem if is_config(network) else network.removeprefix(TIMM)
    light = 'light ' if given and given.light and detector.is_light(cfg) else ''
    counts, sides = count_images(run), size_of_images(cfg)
    classes = (datasets_of(cfg, 'train')[0].get('metainfo') or {}).get('classes') or ()
    about_sides = 'height x width'
    if task == DETECTOR:
        sides, about_sides = tuple(sorted(sides)), 'at most, short x long'
    frozen = backbone.get('frozen_stages', -1)
    lines = {
        'network': f'{name}, {light}{DETECTORS.get(cfg.model.type, task.name)}, starting from '
                   f'{source_of(cfg, backbone)}',
        'data': ': '.join(filter(None, [osp.normpath(run.data_folder), ', '.join(
            f'{number} {part} images' for part, number in counts.items())])),
        'classes': classes and f'{len(classes)}: {", ".join(classes[:5])}{", ..." if len(classes) > 5 else ""}',
        'image size': sides and f'{sides[0]} x {sides[1]} ({about_sides})',
        'length': describe_length(cfg, counts.get('training')),
        'rate': f'{cfg.optim_wrapper.optimizer.type}, {describe_rate(cfg, is_frozen)}; '
                f'{precision_of(cfg.optim_wrapper)}',
        'maps': task.name != 'classifier' and 'out_indices' in backbone
                and f'out_indices {backbone["out_indices"]} of the backbone',
        'frozen': frozen >= 0 and ('the whole backbone' if is_frozen else
                                   f'stem and {count(frozen, "stage")} of the backbone'),
        'work dir': cfg.get('work_dir')}
    return [f'{name:<12}{text}' for name, text in lines.items() if text]


def describe_length(cfg: Config, images: int | None) -> str:
    """Returns the length of a training, with the steps of an epoch where the number of its images tells it."""
    loader, per_step = cfg.train_dataloader, images_per_step(cfg)
    unit = 'epoch' if 'max_epochs' in cfg.train_cfg else 'step'
    length = count(cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters, unit)
    drops_last = any(part.get('drop_last') for part in (loader, loader.get('batch_sampler') or {}))
    if unit == 'epoch' and images and not drops_last:
        length += f' of {count(math.ceil(images / per_step), "step")}'
    interval = count(cfg.train_cfg.get('val_interval', 1), unit)
    return f'{length} of {count(per_step, "image")}' + (f'; validation every {interval}' if cfg.get('val_cfg') else '')


def images_per_step(cfg: Config) -> int:
    """Returns the number of images of a step of all processes."""
    return cfg.train_dataloader.batch_size * (cfg.get(RECIPE) or {}).get('processes', 1)


def describe_rate(cfg: Config, is_frozen: bool) -> str:
    """Returns the rates of a training at their peak."""
    wrapper, scaling = cfg.optim_wrapper, cfg.get('auto_scale_lr') or {}
    factor = images_per_step(cfg) / scaling['base_batch_size'] if scaling.get('enable') else 1
    is_plain = wrapper.get('constructor', 'Default').startswith('Default')  # which knows neither setting
    schedulers = [each for each in cfg.get('param_scheduler') or () if isinstance(each, dict)]
    cycles = [each['eta_max'] for each in schedulers if 'eta_max' in each]  # of all layers
    rate = max(cycles, default=factor * float(wrapper.optimizer['lr']))
    about = {} if is_plain or cycles else wrapper.get('paramwise_cfg') or {}
    own = (wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    mult, decay = (1 if is_frozen else about.get(name, 1) for name in ('pretrained_mult', 'decay_rate'))
    return (f'{rate:.3g} at its peak'
            + (f' for new layers, {rate * mult:.3g} for pretrained ones' if mult != 1 else '')
            + (f', times {decay:g} from each layer to the one before it' if decay != 1 else '')
            + (', others by paramwise_cfg.custom_keys' if any('lr_mult' in each for each in own.values()) else ''))


def source_of(cfg: Config, backbone: Mapping[str, Any]) -> str:
    """Returns what names the weights from which a config starts."""
    if cfg.get('load_from'):
        is_start = osp.basename(cfg.load_from) == START
        trained = (cfg.get(RECIPE) or {}).get('pretrained') or cfg.load_from
        return f'the whole model of {trained}' + (', but its last layers' if is_start else '')
    overlay = backbone.get('pretrained_cfg_overlay') or {}  # of timm
    named = loading_part(backbone.get('init_cfg')).get('checkpoint') or overlay.get('file')
    return named or ('its pretrained weights' if backbone.get('pretrained') else 'random weights')


def size_of_images(cfg: Config) -> tuple[int, ...]:
    """Returns the sides of the padded crops of a training, or of its largest images; empty if its steps do not tell."""
    steps = [step for part in datasets_of(cfg, 'train') for step in part.get('pipeline', ())]
    padded = [step['size'][::-1] for step in steps if type_name(step) == 'Pad' and step.get('size')]
    sizes = [*padded, *(step['crop_size'] for step in steps if 'crop_size' in step)] or [
        size for step in steps for size in step.get('scales', [step['scale']] if 'scale' in step else [])]
    size = max(sizes, key=np.prod, default=())
    return (size, size) if isinstance(size, int) else tuple(size)


def count_images(run: RunFolder) -> dict[str, int]:
    """Returns the numbers of training and validation images; empty if they are not recorded."""
    found, counts = {}, read_counts(osp.join(run.path, RECIPE))
    for split, part in ('train', 'training'), ('val', 'validation'):
        for dataset in datasets_of(run.config, split)[:1] if part in counts else ():
            some = dataset.get('indices') or counts[part]
            if not dataset.get('filter_cfg') and not run.config[f'{split}_dataloader'].get('num_batch_per_epoch'):
                found[part] = min(counts[part], abs(some) if isinstance(some, int) else len(some))
    return found


def precision_of(wrapper: Mapping[str, Any]) -> str:
    """Returns the precision of an optimizer wrapper."""
    is_mixed = str(wrapper.get('type', 'OptimWrapper')).startswith('Amp')
    return str(wrapper.get('dtype') or 'float16') if is_mixed else 'float32'


def count(number: int, unit: str) -> str:
    """Returns a number and its unit in singular or plural."""
    return f'1 {unit}' if number == 1 else f'{number} {unit}s'
