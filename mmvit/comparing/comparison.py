"""Compares backbones on the same data: the same head, recipe, schedule, augmentation, image order and seeds."""
import json
import re
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.device import get_device

from mmvit_backbones.errors import UsageError

from ..configs.tasks import find_task
from ..folders.folders import write_file
from ..folders.record import RECORD, changes
from ..inference import Predictor
from ..recipes import fine_tune
from ..recipes.arguments import COMPARED, FIELDS, find_difference
from ..running.rehearsal import rehearse
from ..utils.counters import count_macs
from ..utils.frameworks import build_dataset
from ..utils.shell import same_mmvit
from ..utils.tables import as_markdown

TIMED_IMAGES = 20
SETTINGS, RECIPE, REPORT = 'settings.json', 'recipe.py', ('README.md', 'plot.png')


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare`.

    Args:
        rows (list[dict]): Figures of each network, best first: ``network``, ``metric`` (mean of the seeds), ``lowest``,
            ``highest``, ``seeds``, parameters, GMACs and times in milliseconds.
        unit (str): Name of the metric.
        out (Path): Folder with README.md, plot.png and the runs.
    """

    rows: list[dict]
    unit: str
    out: Path

    def __str__(self) -> str:
        return make_table(self.rows, self.unit)


def compare(networks: Sequence[str], *, class_folder: str | None = None, coco_folder: str | None = None,
            seg_folder: str | None = None, val_fraction: float | None = None, split_seed: int = 0,
            size: int | Sequence[int] | None = None, batch_size: int | None = None, boxes_only: bool = False,
            epochs: int | None = None, pretrained: bool | str = True, freeze: int | Literal['all'] | None = None,
            layer_decay: float | None = None, seeds: int = 3, out: str = 'compare') -> Comparison:
    """Trains a model with each of several backbones, and returns their metrics, times and sizes.

    Each run is an ordinary training in a process of its own, whose config and log are in ``out``. All are rehearsed
    before the first one starts. A second call continues a stopped comparison, or adds networks and seeds. On a CPU, the
    same call in another folder gives the same metrics.

    Args:
        networks (Sequence[str]): Names from ``list_models()``, ``'resnet50'``, ``'timm:NAME'``, or configs whose
            ``model.backbone`` is compared.
        class_folder, coco_folder, seg_folder, val_fraction, split_seed, size, batch_size, boxes_only, epochs,
        pretrained, freeze: As in :class:`~mmvit.recipes.FineTuning`; all networks get the same recipe.
        layer_decay (float | None): Factor of the learning rate from each level to the one before it. All networks have
            a stem and four levels, which are their stages, or quarters of the blocks of other networks. 1 turns it off.
            Defaults to None: 0.9, and 1 from random weights.
        seeds (int): Runs per network. Defaults to 3.
        out (str): Output folder. Defaults to 'compare'.

    Raises:
        UsageError: If an argument is invalid, two networks would have the same folder, ``out`` holds a comparison with
            other settings or another README.md, or a training fails.
    """
    settings = {name: value for name, value in locals().items()
                if name in COMPARED and value != FIELDS[name].default}
    folder, names = Path(out), list(dict.fromkeys(networks))
    if seeds < 1 or not names:
        raise UsageError(f'networks and seeds must be at least 1, got {len(names)} and {seeds}')
    owners: dict[Path, str] = {}
    for name in names:
        place = name_folder(folder, name)
        if (owner := owners.setdefault(place, name)) != name:
            raise UsageError(f'networks {owner} and {name} would both have the folder {place}; rename one of the files')
    if coco_folder:  # without a GPU, the other form would take days
        settings['light'] = not torch.cuda.is_available()
    check_settings(folder, settings)
    if data := class_folder or coco_folder or seg_folder:
        check_data(folder, data)
    recipes = {name: fine_tune(name, **settings, decay_type='level_wise', check_files=name == names[0],
                               out=str(folder / 'data')) for name in names}
    for name, cfg in recipes.items():
        if not (name_folder(folder, name) / RECIPE).exists():
            rehearse(cfg)
    for name, cfg in recipes.items():
        write_file(name_folder(folder, name), RECIPE, cfg.text)
    write_file(folder, SETTINGS, json.dumps(settings, indent=1))
    results = train_all(recipes, seeds, folder)
    return write_report(folder, summarize(results, measure(recipes, folder), recipes), recipes, settings)


def check_data(out: Path, folder: str) -> None:
    """Raises UsageError if a folder has changed since the first networks of a comparison were trained on it."""
    place = out / 'data'
    if (place / RECORD).is_file() and (found := changes(str(place), folder)):
        raise UsageError(f'{folder} has changed since the comparison in {out} began: {"; ".join(found)}; go on with '
                         'the folder as it was, or pass another --out')


def check_settings(out: Path, now: Mapping[str, Any]) -> None:
    """Raises UsageError if ``out`` has a comparison with other settings, or something else."""
    file = out / SETTINGS
    if not file.exists():
        if others := [name for name in REPORT if (out / name).exists()]:
            raise UsageError(f'out (--out): {out} has a {others[0]} of something else, which would be replaced; choose '
                             'another folder')
        return
    before = json.loads(file.read_text(encoding='utf-8'))
    names = before.keys() | now.keys()
    if found := find_difference({name: now.get(name, FIELDS[name].default) for name in names}, before):
        name, old, new = found
        raise UsageError(f'{out} holds a comparison with {name}={old}, but now {name}={new}; pass the same options, or '
                         'another --out')


def name_folder(out: Path, network: str) -> Path:
    """Returns the folder of a network's runs."""
    return out / re.sub(r'[^\w.-]+', '_', network)


# ---- runs


def train_all(recipes: Mapping[str, Config], seeds: int, out: Path) -> dict[str, list[dict]]:
    """Trains all recipes with each seed, seed by seed, and returns the results of each network."""
    results: dict[str, list[dict]] = {name: [] for name in recipes}
    runs = [(name, seed) for seed in range(seeds) for name in recipes]
    for number, (name, seed) in enumerate(runs, 1):
        framework, about = recipes[name].default_scope, f'[{number}/{len(runs)}] {name}, seed {seed}'
        result = train_once(name_folder(out, name), seed, framework, about)
        results[name].append(result)
        print(f'{about}: {find_task(framework).unit} {result["metric"]:.1f}', flush=True)
    return results


def train_once(folder: Path, seed: int, framework: str, about: str) -> dict:
    """Trains the recipe in a folder once, unless it has already ended, and returns its metric and seconds per step."""
    work_dir, done, log = (folder / f'seed{seed}{suffix}' for suffix in ('', '.json', '.log'))
    if not done.exists():
        print(f'{about}: training, log in {log}', flush=True)
        run(['train', str(folder / RECIPE), '--work-dir', str(work_dir), '--resume', '--seed', str(seed)], log)
        entries = list(read_log(work_dir))
        times = [entry['time'] for entry in entries if 'time' in entry and 'loss' in entry]
        write_file(folder, done.name, json.dumps(dict(
            metric=find_last_metric(entries, framework), step=statistics.median(times[-max(1, len(times) // 2):]))))
    return json.loads(done.read_text(encoding='utf-8'))


def run(arguments: Sequence[str], log: Path) -> None:
    """Runs a subcommand of mmvit.

    Raises:
        UsageError: If the subcommand fails; the message has its last line.
    """
    with log.open('a', encoding='utf-8') as file:
        process = subprocess.Popen([*same_mmvit(), *arguments], stdout=file, stderr=file)
        try:
            process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        last = (log.read_text(encoding='utf-8').splitlines() or ['no output'])[-1]
        if process.returncode == -9:  # SIGKILL, which Windows lacks
            last = 'it was killed, most often because memory is full'
        raise UsageError(f'mmvit {arguments[0]} failed, see {log}: {last}; the same command continues')


def read_log(work_dir: Path) -> Iterator[dict]:
    """Yields what a training has logged in all its starts; a kill can cut off the last line of one."""
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):  # in order of time
        for line in file.read_text(encoding='utf-8', errors='replace').splitlines():
            with suppress(ValueError):
                yield json.loads(line)


def find_last_metric(entries: Sequence[Mapping[str, Any]], framework: str) -> float:
    """Returns the metric of the last evaluation, in percent."""
    task = find_task(framework)
    return [entry[task.metric] for entry in entries if task.metric in entry][-1] * task.factor


# ---- figures


def measure(recipes: Mapping[str, Config], out: Path) -> dict[str, dict]:
    """Returns parameters, GMACs and seconds per image of prediction, of the model with each backbone.

    The networks take turns, so that a busy machine slows down all of them.
    """
    from ..deployment.sample_images import image_files  # needs more than other functions
    images = image_files(next(iter(recipes.values())), 'val')[:TIMED_IMAGES]
    predictors = {network: Predictor(str(name_folder(out, network) / 'seed0')) for network in recipes}
    figures = {}
    for network, predictor in predictors.items():
        module: Any = predictor.model
        figures[network] = dict(parameters=sum(weight.numel() for weight in module.module.parameters()),
                                gmacs=count_macs(partial(predictor, images[0])), times=[])
    for image in images:
        for network, predictor in predictors.items():
            begin = time.perf_counter()
            predictor(image)
            figures[network]['times'].append(time.perf_counter() - begin)
    return figures


def summarize(results: Mapping[str, list[dict]], figures: Mapping[str, dict], recipes: Mapping[str, Config]
              ) -> list[dict]:
    """Returns a row per network, best first."""
    rows = []
    for network, runs in results.items():
        measured, metrics = figures[network], [run['metric'] for run in runs]
        rows.append({
            'network': network, 'metric': statistics.mean(metrics), 'lowest': min(metrics), 'highest': max(metrics),
            'seeds': len(runs), 'parameters, M': measured['parameters'] / 1e6, 'GMACs': measured['gmacs'],
            'ms per image, inference': 1000 * statistics.median(measured['times']),
            'ms per image, training': 1000 * statistics.median(run['step'] for run in runs)
            / recipes[network].train_dataloader.batch_size})
    return sorted(rows, key=lambda row: (-row['metric'], row['network']))


def write_report(out: Path, rows: list[dict], recipes: Mapping[str, Config], settings: Mapping[str, Any]
                 ) -> Comparison:
    """Writes README.md and plot.png, and returns the comparison."""
    from ..drawing.ranking import draw_ranking
    cfg = next(iter(recipes.values()))
    images = len(build_dataset(cfg, 'val'))
    result = Comparison(rows, find_task(cfg.default_scope).unit, out)
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
        '- GMACs: multiply-adds of convolutions and matrix products, counted for the first validation image']
    write_file(out, 'README.md', f'# Comparison of {len(rows)} backbones\n\n{result}\n\n'
          '![Metric against latency](plot.png)\n\n' + '\n'.join(conditions) + '\n')
    draw_ranking(out / 'plot.png', rows, result.unit)
    return result


def make_table(rows: list[dict], unit: str) -> str:
    """Returns a Markdown table, in which the metric has its range in brackets."""
    shown = []
    for row in rows:
        others = {name: value for name, value in row.items() if name not in ('metric', 'lowest', 'highest', 'seeds')}
        metric = f'{row["metric"]:.1f} [{row["lowest"]:.1f}, {row["highest"]:.1f}]'
        shown.append({'network': row['network'], unit: metric, **others})
    return as_markdown(shown)
