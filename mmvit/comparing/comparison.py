"""Compares backbones on the same data: the same head, recipe, schedule, augmentation, image order and seeds."""
import gc
import json
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.device import get_device

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.reading import LAST, find_checkpoint

from ..fine_tuning import COMPARED, FIELDS, find_difference
from ..folders.folders import write_file
from ..folders.record import RECORD
from ..frameworks import task_of
from ..frameworks.building import build_dataset
from ..frameworks.tasks import Task
from ..inference import Predictor
from ..recipes import fine_tune
from ..running import train
from ..running.data_set_files import image_files
from ..running.prepare import prepare_training
from ..running.rehearsal import rehearse
from ..running.run_folder import RECIPE, RunFolder
from ..utils.tables import as_markdown

TIMED_IMAGES = 20
REPORT = 'README.md'


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare`.

    Args:
        rows (list[dict]): Figures of each network, best first: ``network``, ``metric`` (mean of the seeds), ``lowest``,
            ``highest``, ``seeds``, parameters, but for detectors GMACs, and times in milliseconds.
        unit (str): Name of the metric.
        out (Path): Folder with README.md, plot.png and the runs.
    """

    rows: list[dict]
    unit: str
    out: Path

    def __str__(self) -> str:
        """Returns a Markdown table, in which the metric has its range in brackets."""
        shown, in_metric = [], ('metric', 'lowest', 'highest')
        for row in self.rows:
            others = {name: value for name, value in row.items() if name not in in_metric}
            metric = f'{row["metric"]:.1f} [{row["lowest"]:.1f}, {row["highest"]:.1f}]'
            shown.append({'network': row['network'], self.unit: metric, **others})
        return as_markdown(shown)


def compare(networks: Sequence[str], *, class_folder: str | None = None, coco_folder: str | None = None,
            seg_folder: str | None = None, val_fraction: float | None = None, split_seed: int = 0,
            size: int | Sequence[int] | None = None, batch_size: int | None = None, boxes_only: bool = False,
            epochs: int | None = None, pretrained: bool | str = True, freeze: int | Literal['all'] | None = None,
            layer_decay: float | None = None, seeds: int = 3, out: str = 'compare') -> Comparison:
    """Trains a model with each of several backbones, and returns their metrics, times and sizes.

    Each run is an ordinary training, whose config and log are in ``out``. All are rehearsed before the first starts. A
    second call continues a stopped comparison, or adds networks and seeds; the report has all. On a CPU, the same call
    in another folder gives the same metrics.

    Args:
        networks (Sequence[str]): Names from ``list_models()``, ``'resnet50'``, ``'timm:NAME'``, or configs whose
            ``model.backbone`` is compared.
        class_folder, coco_folder, seg_folder, val_fraction, split_seed: As in :class:`~mmvit.recipes.FineTuning`.
        size, batch_size, boxes_only, epochs, pretrained, freeze, layer_decay: As in that class; all networks get the
            recipe of `mmvit train`.
        seeds (int): Runs per network. Defaults to 3.
        out (str): Output folder. Defaults to 'compare'.

    Raises:
        UsageError: If an argument is invalid, two networks would have the same folder, ``out`` holds a comparison with
            other settings or data or another README.md, or a training fails.
    """
    settings = {name: value for name, value in locals().items()
                if name in COMPARED and value != FIELDS[name].default}
    folder, names = Path(out), list(dict.fromkeys(networks))
    if seeds < 1 or not names:
        raise UsageError(f'networks and seeds must be at least 1, got {len(names)} and {seeds}')
    if coco_folder:  # without a GPU, the other form would take days
        settings['light'] = not torch.cuda.is_available()
    before = find_runs(folder, settings, class_folder or coco_folder or seg_folder)
    every = dict.fromkeys([*names, *before])
    if len({name_folder(folder, name) for name in every}) < len(every):
        raise UsageError(f'two of the networks {", ".join(every)} would have the same folder in {out}; rename one of '
                         'the files')
    recipes = {name: fine_tune(name, **settings, check_files=name == names[0], work_dir=str(name_folder(folder, name)))
               for name in names}
    for cfg in recipes.values():
        if not Path(cfg.filename).exists():
            rehearse(cfg)
    for cfg in recipes.values():
        RunFolder.create(cfg)
    train_all(recipes, seeds)
    recipes |= {name: cfg for name, cfg in before.items() if name not in recipes and is_trained(cfg)}
    return write_report(folder, measure(recipes), recipes, settings)


def find_runs(out: Path, now: Mapping[str, Any], data: str | None) -> dict[str, Config]:
    """Returns the recipes of the networks in ``out``, by the names of the networks.

    Raises:
        UsageError: If ``out`` has a comparison with other settings or other ``data``, or something else.
        CheckpointError: If the weights of a network, which is measured again, are no longer there.
    """
    runs = [RunFolder.open(str(file)) for file in out.glob(f'*/{RECIPE}/*.py')]
    if not runs and (out / REPORT).exists():
        raise UsageError(f'out (--out): {out} has a {REPORT} of something else, which would be replaced; choose '
                         'another folder')
    for run in runs:
        given = {name: now.get(name, FIELDS[name].default) for name in (*COMPARED, 'light')}
        if found := find_difference(given, run.given):
            name, old, new = found
            raise UsageError(f'{out} holds a comparison with {name}={old}, but now {name}={new}; pass the same '
                             'options, or another out (--out)')
    records = {file.read_bytes(): run for run in runs if (file := Path(run.path, RECIPE, RECORD)).is_file()}
    for run in records.values():
        if changes := run.list_changes(data):
            raise UsageError(f'{data} has changed since the comparison in {out} began: {"; ".join(changes)}; go on '
                             'with the folder as it was, or pass another out (--out)')
    for run in runs:
        if is_trained(run.config):
            find_checkpoint(str(Path(run.path, 'seed0')))
    return {str(run.given.network): run.config for run in runs}


def is_trained(recipe: Config) -> bool:
    """Returns whether a recipe was trained with a seed."""
    return Path(recipe.work_dir, 'seed0.json').is_file()


def name_folder(out: Path, network: str) -> Path:
    """Returns the folder of a network's runs."""
    return out / re.sub(r'[^\w.-]+', '_', network)


# ---- runs


def train_all(recipes: Mapping[str, Config], seeds: int) -> None:
    """Trains all recipes with each seed, seed by seed."""
    runs = [(name, seed) for seed in range(seeds) for name in recipes]
    for number, (name, seed) in enumerate(runs, 1):
        task, about = task_of(recipes[name]), f'[{number}/{len(runs)}] {name}, seed {seed}'
        print(f'{about}: training', flush=True)
        print(f'{about}: {task.unit} {train_once(recipes[name], seed, task):.1f}', flush=True)


def train_once(recipe: Config, seed: int, task: Task) -> float:
    """Trains a recipe once, unless it has already ended, in a folder of its work dir, and returns its metric.

    Writes the ``metric`` of the last evaluation in percent, and the median seconds per ``step`` of the last half.
    """
    work_dir, done = (Path(recipe.work_dir, f'seed{seed}{suffix}') for suffix in ('', '.json'))
    if not done.exists():
        cfg = prepare_training(RunFolder.open(str(recipe.filename)), resume=(work_dir / LAST).is_file(),
                               work_dir=str(work_dir), seed=seed, checks_data=False)
        hub = train(cfg).message_hub
        times, _ = hub.get_scalar('train/time').data
        write_file(recipe.work_dir, done.name, json.dumps(dict(
            metric=float(hub.get_scalar(f'val/{task.metric}').current()) * task.factor,
            step=float(statistics.median(times[len(times) // 2:])))))
        gc.collect()  # of the model, before the next one
    return json.loads(done.read_text(encoding='utf-8'))['metric']


# ---- figures


def measure(recipes: Mapping[str, Config]) -> list[dict]:
    """Returns a row of figures per network, of all seeds that were trained, best first; see :class:`Comparison`.

    The networks take turns in predicting, so that a busy machine slows down all of them.
    """
    from ..measuring.counters import count_macs
    images = image_files(next(iter(recipes.values())), 'val')[:TIMED_IMAGES]
    predictors = {network: Predictor(str(Path(cfg.work_dir, 'seed0'))) for network, cfg in recipes.items()}
    times: dict[str, list[float]] = {network: [] for network in recipes}
    for image in images:
        for network, predictor in predictors.items():
            begin = time.perf_counter()
            predictor(image)
            times[network].append(time.perf_counter() - begin)
    rows = []
    for network, predictor in predictors.items():
        model: Any = predictor.model
        runs = [json.loads(file.read_text(encoding='utf-8'))
                for file in Path(recipes[network].work_dir).glob('seed*.json')]
        metrics, steps = ([run[key] for run in runs] for key in ('metric', 'step'))
        macs = {} if predictor.task == 'detection' else {'GMACs': count_macs(partial(predictor, images[0]))}
        rows.append({
            'network': network, 'metric': statistics.mean(metrics), 'lowest': min(metrics), 'highest': max(metrics),
            'seeds': len(metrics), 'parameters, M': sum(weight.numel() for weight in model.module.parameters()) / 1e6,
            **macs, 'ms per image, inference': 1000 * statistics.median(times[network]),
            'ms per image, training': 1000 * statistics.median(steps) / recipes[network].train_dataloader.batch_size})
    return sorted(rows, key=lambda row: (-row['metric'], row['network']))


def write_report(out: Path, rows: list[dict], recipes: Mapping[str, Config], settings: Mapping[str, Any]
                 ) -> Comparison:
    """Writes README.md and plot.png, and returns the comparison."""
    from ..drawing.ranking import draw_ranking
    cfg = next(iter(recipes.values()))
    images = len(build_dataset(cfg, 'val'))
    result = Comparison(rows, task_of(cfg).unit, out)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else get_device().replace('cpu', 'CPU')
    given = ', '.join(f'{name} {value}' for name, value in settings.items()
                      if value or name == 'pretrained')
    conditions = [
        f'- settings: {given}',
        f'- {cfg.train_cfg.max_epochs} epochs of {cfg.train_dataloader.batch_size} images per step; the metric of the '
        f'last evaluation, on {images} validation images; brackets: lowest and highest seed, by which networks whose '
        'brackets overlap cannot be told apart',
        f'- measured on {device}; inference: median of at most {TIMED_IMAGES} images, with data steps, one image at a '
        'time, all networks in turn',
        '- on a CPU, the same command in another folder gives the same metrics; times vary',
        *(['- GMACs: multiply-adds of convolutions and matrix products, counted for the first validation image']
          if 'GMACs' in rows[0] else [])]  # those of a detector follow from how many objects it finds
    write_file(out, REPORT, f'# Comparison of {len(rows)} backbones\n\n{result}\n\n'
          '![Metric against latency](plot.png)\n\n' + '\n'.join(conditions) + '\n')
    draw_ranking(out / 'plot.png', rows, result.unit)
    return result
