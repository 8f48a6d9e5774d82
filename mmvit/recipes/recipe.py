"""The recipe of a fine-tuning as a value: the finished config, and what a person reads of it."""
import math
import os.path as osp
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config

from mmvit_backbones.errors import UsageError

from ..configs.files import merge_options
from ..configs.machine import KEYS, OF_MACHINE, find_settings_here, make_loading
from ..configs.tasks import Task
from ..fine_tuning import ALL, FineTuning, with_option
from ..folders import FolderData
from ..running.run_folder import RECIPE
from ..utils.limits import SIDE
from . import classifier, detector, segmenter
from .config_files import write_sections
from .networks import TIMM, Network, without_weights
from .plan import Plan
from .schedule import MOST_LR, MOST_PRETRAINED_LR, PRETRAINED_MULT, Schedule
from .starts import Start, find_start

Section = tuple[str, Mapping[str, Any]]  # comment and settings
MODULES: dict[str, Any] = dict(classifier=classifier, detector=detector, segmenter=segmenter)
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
    module, here, recorded = MODULES[task.name], find_settings_here(), given.list_changes()
    of_machine = [name for name in here if name not in recorded and not any(map(KEYS[name].match, options))]
    settled: dict[str, Any] = {**here, **recorded}
    data = replace(data, val={**data.val, 'metainfo': data.train['metainfo']})
    plan = Plan(given=given, network=network, data=data, size=settle_size(task, given.size),
                batch_size=given.batch_size or module.BATCH_SIZE, precision=settled['precision'])
    lr, limit = (module.LR, MOST_LR) if network.is_pretrained else (module.LR_OF_RANDOM_WEIGHTS, math.inf)
    peak = given.lr or min(lr * math.sqrt(plan.images_per_step * given.accumulate / module.BATCH_SIZE), limit)
    mult = min(PRETRAINED_MULT, MOST_PRETRAINED_LR / peak) if network.is_pretrained else 1.
    model, frame, start = module.make_model(plan), module.make_frame(plan), Start(None, [])
    if network.is_pretrained:
        planned = finish_config([('', frame), ('', model)], '', '')
        merge_options(planned, {key: value for key, value in options.items() if key.startswith('model.')})
        start = find_start(network, planned, data.classes, folder)
        if start.file:
            model = module.make_model(replace(
                plan, network=replace(network, backbone=without_weights(network.backbone))))
        if not start.new:
            peak, mult = peak * mult, 1.
    schedule = Schedule(plan=plan, lr=peak, pretrained_mult=mult, new=start.new,
                        layer_decay=given.layer_decay or (0.9 if network.is_pretrained else 1.))
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
    return finish_config(sections, write_sections([*summarize(plan, schedule, start), *USAGE], sections), file)


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
    return (min(sides), max(sides)) if task.name == 'detector' else (sides[0], sides[1])


def complete_loaders(loader: dict, evaluation: dict, loading: dict) -> dict[str, Any]:
    """Returns the loaders and the metrics of a config, of those of a task; the test has those of the validation."""
    sampler, metrics = dict(type='DefaultSampler', shuffle=False), evaluation['val_evaluator']
    both = {**evaluation['val_dataloader'], **loading, 'sampler': sampler}
    return {'train_dataloader': {**loader, **loading, 'sampler': dict(sampler, shuffle=True)},
            **evaluation, 'val_dataloader': both, 'test_dataloader': both, 'test_evaluator': metrics}


def summarize(plan: Plan, schedule: Schedule, start: Start) -> list[str]:
    """Returns the lines that say what a recipe trains."""
    given, network, data, (task, folder) = plan.given, plan.network, plan.data, plan.given.data
    model = 'Mask R-CNN' if data.has_masks else 'Faster R-CNN, boxes only' if task.name == 'detector' else task.name
    sides = 'at most, short x long' if task.name == 'detector' else 'height x width'
    source = network.source
    if start.file:
        source = f'the whole model of {given.pretrained}' + (', but its last layers' if start.new else '')
    rates = f'{schedule.lr:.3g} at its peak'
    if given.freeze != ALL and schedule.pretrained_mult != 1:
        rates += f' for new layers, {schedule.lr * schedule.pretrained_mult:.3g} for pretrained ones'
    if given.freeze != ALL and schedule.layer_decay != 1:
        rates += f', times {schedule.layer_decay:g} from each layer to the one before it'
    frozen = network.backbone.get('frozen_stages', -1)
    return [
        f'network     {network.name}, {"light " if given.light else ""}{model}, starting from {source}',
        f'data        {folder}: {data.count("train")} training images, {data.count("val")} validation images',
        f'classes     {len(data.classes)}: {", ".join(data.classes[:5])}{", ..." if len(data.classes) > 5 else ""}',
        f'image size  {plan.size[0]} x {plan.size[1]} ({sides})',
        f'length      {count(plan.epochs, "epoch")} of {count(plan.steps_per_epoch, "step")} of '
        f'{count(plan.images_per_step, "image")}; validation every {count(schedule.val_interval, "epoch")}',
        f'rate        AdamW, {rates}; {plan.precision}',
        *([f'maps        out_indices {network.backbone["out_indices"]} of the backbone']
          if task.name != 'classifier' and 'out_indices' in network.backbone else []),
        *(['frozen      ' + ('the whole backbone' if given.freeze == ALL else
                              f'stem and {count(frozen, "stage")} of the backbone')] if frozen >= 0 else []),
        f'work dir    {given.work_dir}']


def count(number: int, unit: str) -> str:
    """Returns a number and its unit in singular or plural."""
    return f'1 {unit}' if number == 1 else f'{number} {unit}s'
