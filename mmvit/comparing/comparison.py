"""Compares backbones on the same data: the same head, recipe, schedule, augmentation, image order and seeds."""
import json
import math
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from mmengine.config import Config
from mmengine.device import get_device

from mmvit_backbones.engine.optimizers.layer_decay import level_scales
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.zoo.reading import last_of

from ..configs.files import read_config
from ..inference import Predictor
from ..recipes import fine_tune, summary
from ..recipes.networks import find_network
from ..recipes.other_config import with_backbone, with_level_decay
from ..utils.counters import Counter, count_macs
from ..utils.frameworks import build_dataset, import_quietly
from ..utils.run_logs import logged
from ..utils.shell import as_typed, same_mmvit
from ..utils.tables import as_markdown, write_csv

METRICS = dict(mmpretrain=('accuracy/top1', 'top-1, %', 1), mmdet=('coco/bbox_mAP', 'box AP, %', 100),
               mmseg=('mIoU', 'mIoU, %', 1))
NO_METRICS = {'step', 'iter', 'epoch', 'time', 'data_time', 'memory'}
TIMED_IMAGES, FEW_IMAGES = 20, 100
SETTINGS, REPORT = 'settings.json', ('README.md', 'results.csv', 'plot.png')
WITH_CONFIG = 'config', 'layer_decay', 'pretrained', 'freeze'  # settings that a comparison in a config may have


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`compare`.

    Args:
        rows (list[dict]): Figures of each network, best first: ``network``, ``metric`` (mean of the seeds), ``lowest``,
            ``highest``, ``seeds``, parameters, GMACs, times in milliseconds and memory in GB.
        differences (list[str]): Sentences that say which networks differ by more than their seeds.
        unit (str): Name of the metric.
        out (Path): Folder with README.md, results.csv, plot.png and the runs.
    """

    rows: list[dict]
    differences: list[str]
    unit: str
    out: Path

    def __str__(self) -> str:
        return f'{table(self.rows, self.unit)}\n\n' + '\n'.join(f'- {line}' for line in self.differences) + '\n'


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that all runs of a comparison have in common.

    Args:
        class_folder, coco_folder, seg_folder, val_fraction, split_seed, size, batch_size, boxes_only: As in
            :func:`~mmvit.recipes.fine_tune`, whose recipe all networks get.
        config (str | None): Config whose data, neck, heads and schedule are used instead.
        epochs (int | None): Epochs of every run. Defaults to None: those of ``fine_tune``.
        pretrained (bool): Whether to start from each network's published weights. Defaults to False.
        freeze (bool): Whether to train only neck and heads. Defaults to False.
        layer_decay (float | None): Factor of the learning rate from each level to the one before it. All networks have
            a stem and four levels, which are their stages, or quarters of the blocks of other networks. 1 turns it off.
            Defaults to None: 0.9, and 1 from random weights; with ``config``, the config's, if it has
            :class:`~mmvit_backbones.engine.LayerDecayConstructor` or no decay by layers.

    Raises:
        UsageError: If settings are out of range or exclude each other.
    """

    class_folder: str | None = None
    coco_folder: str | None = None
    seg_folder: str | None = None
    val_fraction: float | None = None
    split_seed: int = 0
    size: int | Sequence[int] | None = None
    batch_size: int | None = None
    boxes_only: bool = False
    layer_decay: float | None = None
    config: str | None = None
    epochs: int | None = None
    pretrained: bool = False
    freeze: bool = False

    def __post_init__(self) -> None:
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise UsageError(f'layer_decay must be above 0 and at most 1, got {self.layer_decay}')
        given = [name for name, value in asdict(self).items() if value and name not in WITH_CONFIG]
        if self.config and given:
            raise UsageError(f'config {self.config} has its own data and schedule; got {", ".join(given)}, too')
        if not self.data:
            raise UsageError('pass class_folder, coco_folder or seg_folder, or a config with its own data')

    @property
    def data(self) -> str | None:
        """Returns the config or folder with the data."""
        return self.config or self.class_folder or self.coco_folder or self.seg_folder

    def of_recipe(self) -> dict[str, Any]:
        """Returns the arguments of ``fine_tune`` that are the same in all runs."""
        others = 'config', 'pretrained', 'freeze'
        return {name: value for name, value in asdict(self).items() if value is not None and name not in others}


def compare(networks: Sequence[str], *, seeds: int = 3, out: str = 'compare', **settings: Any) -> Comparison:
    """Trains a model with each of several backbones, and returns their metrics, times and sizes.

    Each run is an ordinary training in a process of its own, whose config and log are in ``out``. Necks and heads start
    equal for all backbones where their shapes are equal. A second call continues a stopped comparison, or adds networks
    and seeds. On a CPU, the same call in another folder gives the same metrics.

    Args:
        networks (Sequence[str]): Names from ``list_models()``, ``'resnet50'``, ``'timm:NAME'``, or configs whose
            ``model.backbone`` is compared.
        seeds (int): Runs per network. Defaults to 3.
        out (str): Output folder. Defaults to 'compare'.
        settings: Arguments of :class:`Settings`, such as ``coco_folder``, ``epochs`` or ``pretrained``.

    Raises:
        UsageError: If an argument is invalid, two networks would have the same folder, ``out`` holds a comparison with
            other settings or another README.md, or a training fails.
    """
    folder, names = Path(out), list(dict.fromkeys(networks))
    if seeds < 1 or not names:
        raise UsageError(f'networks and seeds must be at least 1, got {len(names)} and {seeds}')
    owners: dict[Path, str] = {}
    for name in names:
        place = folder_of(folder, name)
        if (owner := owners.setdefault(place, name)) != name:
            raise UsageError(f'networks {owner} and {name} would both have the folder {place}; rename one of the files')
    shared = Settings(**settings)
    stated = dict(asdict(shared), light=is_light(shared))
    check_settings(folder, stated)
    recipes = recipes_of(names, shared, folder)
    rates = {name: rates_of(name, cfg) for name, cfg in recipes.items()}
    write_recipes(recipes, folder)
    write(folder / SETTINGS, json.dumps(stated, indent=1))
    results = train_all(recipes, seeds, folder)
    rows = summarize(results, measure(recipes, folder), recipes)  # measures the trained models
    return write_report(folder, rows, recipes, shared, next(iter(rates.values())))


def check_settings(out: Path, now: Mapping[str, Any]) -> None:
    """Raises UsageError if ``out`` has a comparison with other settings, or something else."""
    file = out / SETTINGS
    if not file.exists():
        if others := [name for name in REPORT if (out / name).exists()]:
            raise UsageError(f'out (--out): {out} has a {others[0]} of something else, which would be replaced; choose '
                             'another folder')
        return
    before = json.loads(file.read_text(encoding='utf-8'))
    for name, value in json.loads(json.dumps(now)).items():
        if before.get(name) != value:
            raise UsageError(f'{out} holds a comparison with {name}={before.get(name)}, but now {name}={value}; pass '
                             'the same options, or another --out')


# ---- recipes


def recipes_of(names: Sequence[str], settings: Settings, out: Path) -> dict[str, Config]:
    """Returns the config of each network, which differ in the backbone and the channels of its maps."""
    pretrained, freeze = settings.pretrained, settings.freeze
    if settings.config:
        return {name: other_recipe(settings.config, name, pretrained, freeze, settings.layer_decay) for name in names}
    arguments = dict(settings.of_recipe(), light=is_light(settings), out=str(out / 'data'))
    common = hooks(fine_tune(dict(type='NoBackbone'), pretrained=False, **arguments), freeze)
    return {name: fine_tune(name, pretrained=pretrained, decay_type='level_wise', custom_hooks=common,
                            check_files=False, **arguments) for name in names}


def is_light(settings: Settings) -> bool:
    """Returns whether detectors are of the light form, as they are without a GPU."""
    return settings.coco_folder is not None and not torch.cuda.is_available()


def other_recipe(config: str, network: str, pretrained: bool, freeze: bool, layer_decay: float | None) -> Config:
    """Returns a config with the backbone of a network, heads that start equal, and learning rates by levels."""
    cfg = read_config(config, ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'))
    import_quietly(cfg.default_scope)
    common = with_backbone(cfg, find_network(dict(type='NoBackbone'), pretrained=False))
    return with_backbone(cfg, find_network(network, pretrained), hooks(common, freeze),
                         optim_wrapper=with_level_decay(cfg, layer_decay))


def hooks(common: Config, freeze: bool) -> list[dict]:
    """Returns the hooks that give all heads the same start, and keep the backbone's weights."""
    model = {**common.model.to_dict(), 'backbone': dict(type='NoBackbone'), '_scope_': common.default_scope}
    return [dict(type='EqualHeadsHook', models=[model]), *([dict(type='FrozenBackboneHook')] if freeze else [])]


def rates_of(network: str, cfg: Config) -> str:
    """Returns a phrase with the learning rates by level, which are equal for all networks.

    Raises:
        UsageError: If the layers of the network are unknown.
    """
    wrapper = cfg.optim_wrapper
    decay = wrapper.paramwise_cfg.decay_rate if wrapper.get('constructor') == 'LayerDecayConstructor' else 1
    if decay == 1:
        return 'learning rates, of all networks: without decay by layers'
    try:
        stem, *levels, after = level_scales(cfg.model.backbone.to_dict(), decay)
    except (ValueError, UsageError) as error:
        raise UsageError(f'the layers of {network} are unknown, so that its learning rates cannot be those of the '
                         f'other networks; pass layer_decay=1 (--layer-decay 1) for equal rates in all layers: {error}'
                         ) from error
    return (f'learning rates, of all networks: times {stem:.3g} in the stem, {", ".join(f"{x:.3g}" for x in levels)} '
            f'in four levels, {after:.3g} after them')


def folder_of(out: Path, network: str) -> Path:
    return out / re.sub(r'[^\w.-]+', '_', network)


def write_recipes(recipes: Mapping[str, Config], out: Path) -> None:
    """Writes the config of each network, from which its runs are started."""
    for name, cfg in recipes.items():
        write(folder_of(out, name) / 'recipe.py', cfg.text)


def write(path: Path, text: str) -> None:
    """Writes a file that is either complete or does not exist, even if the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(path) as part:
        part.write_text(text, encoding='utf-8')


# ---- runs


def train_all(recipes: Mapping[str, Config], seeds: int, out: Path) -> dict[str, list[dict]]:
    """Trains all recipes with each seed, seed by seed, and returns the results of each network."""
    results: dict[str, list[dict]] = {name: [] for name in recipes}
    runs = [(name, seed) for seed in range(seeds) for name in recipes]
    for number, (name, seed) in enumerate(runs, 1):
        place, about = folder_of(out, name), f'[{number}/{len(runs)}] {name}, seed {seed}'
        if not (place / f'seed{seed}.json').exists():
            print(f'{about}: training, log in {place}/seed{seed}.log', flush=True)
        result = train_once(place, f'seed{seed}', recipes[name].default_scope, ['--seed', str(seed)])
        results[name].append(result)
        print(f'{about}: {METRICS[recipes[name].default_scope][1]} {result["metric"]:.1f}', flush=True)
    return results


def train_once(folder: Path, name: str, framework: str, options: Sequence[str]) -> dict:
    """Trains the recipe in a folder once, unless it has already ended, and returns its metric, times and memory."""
    work_dir, done, starts = folder / name, folder / f'{name}.json', folder / f'{name}.starts'
    if not done.exists():
        run(['train', str(folder / 'recipe.py'), '--work-dir', str(work_dir), '--resume', *options],
            folder / f'{name}.log', starts)
        entries = [entry for _, _, entry in logged(work_dir)]
        times = [entry['time'] for entry in entries if 'time' in entry and 'loss' in entry]
        gpu = [entry['memory'] * 2**20 for entry in entries if entry.get('memory')]
        seconds, memory = zip(*map(json.loads, starts.read_text(encoding='utf-8').splitlines()))
        write(done, json.dumps(dict(
            metric=last_metric(entries, framework, work_dir), step=statistics.median(times[-max(1, len(times) // 2):]),
            memory=max(gpu or memory), seconds=sum(seconds))))
    return json.loads(done.read_text(encoding='utf-8'))


def last_metric(entries: Sequence[Mapping[str, Any]], framework: str, work_dir: Path) -> float:
    """Returns the metric of the last evaluation, in percent.

    Raises:
        UsageError: If the log has no such metric; the message names those that it has.
    """
    key, _, factor = METRICS[framework]
    found = [entry[key] for entry in entries if key in entry]
    if not found:
        names = {name for entry in entries if 'loss' not in entry for name in entry} - NO_METRICS
        raise UsageError(f'{key}, by which networks are compared, is not in the log of {work_dir}, which has '
                         f'{", ".join(sorted(names)) or "no metrics"}; let the val_evaluator of the config compute it')
    return found[-1] * factor


def run(arguments: Sequence[str], log: Path, starts: Path) -> None:
    """Runs a subcommand of mmvit, and adds its seconds and the largest resident memory of its process to ``starts``.

    Raises:
        UsageError: If the subcommand fails; the message has its last line.
    """
    memory, begin = 0, time.monotonic()
    with log.open('a', encoding='utf-8') as file:
        process = psutil.Popen([*same_mmvit(), *arguments], stdout=file, stderr=file)
        try:
            while process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    memory = max(memory, process.memory_info().rss)
                time.sleep(0.1)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            with starts.open('a', encoding='utf-8') as record:
                record.write(json.dumps([time.monotonic() - begin, memory]) + '\n')
    if process.returncode:
        last = (log.read_text(encoding='utf-8').splitlines() or ['no output'])[-1]
        if process.returncode == -9:  # SIGKILL, which Windows lacks
            last = 'it was killed, most often because memory is full'
        raise UsageError(f'mmvit {arguments[0]} failed, see {log}: {last}; the same command continues')


# ---- figures


def measure(recipes: dict[str, Config], out: Path) -> dict[str, dict]:
    """Returns parameters, GMACs, ms per image and memory of prediction, of the model with each backbone.

    The networks take turns, so that a busy machine slows down all of them.
    """
    from ..deployment.sample_images import images_of  # needs more than other functions
    images = images_of(next(iter(recipes.values())), 'val')[:TIMED_IMAGES]
    predictors, figures = {}, {}
    for network in recipes:
        folder = folder_of(out, network)
        predictor: Any = Predictor(last_of(folder / 'seed0/last_checkpoint'), str(folder / 'recipe.py'))
        predictors[network] = predictor
        figures[network] = dict(
            parameters=sum(weight.numel() for weight in predictor.model.module.parameters()),
            gmacs=count_macs(partial(predictor, images[0])), memory=memory_of(predictor, images[0]), times=[])
    for image in images:
        for network, predictor in predictors.items():
            begin = time.perf_counter()
            predictor(image)
            figures[network]['times'].append(time.perf_counter() - begin)
    return figures


def memory_of(predictor: Any, image: str) -> int:
    """Returns the bytes of a model's weights and of what a prediction allocates at its peak."""
    module = predictor.model.module
    weights = sum(x.nbytes for x in (*module.parameters(), *module.buffers()))
    with Counter() as counter:
        predictor(image)
    return weights + counter.peak


def summarize(results: dict[str, list[dict]], figures: dict[str, dict], recipes: dict[str, Config]) -> list[dict]:
    """Returns a row per network, best first."""
    rows = []
    for network, runs in results.items():
        batch_size = recipes[network].train_dataloader.batch_size
        measured, metrics = figures[network], [run['metric'] for run in runs]
        rows.append({
            'network': network, 'metric': statistics.mean(metrics), 'lowest': min(metrics), 'highest': max(metrics),
            'seeds': len(runs), 'parameters, M': measured['parameters'] / 1e6, 'GMACs': measured['gmacs'],
            'ms per image, inference': 1000 * statistics.median(measured['times']),
            'ms per image, training': 1000 * statistics.median(run['step'] for run in runs) / batch_size,
            'min, training': statistics.median(run['seconds'] for run in runs) / 60,
            'GB, inference': measured['memory'] / 1e9, 'GB, training': max(run['memory'] for run in runs) / 1e9})
    return sorted(rows, key=lambda row: (-row['metric'], row['network']))


def differences(rows: list[dict], images: int) -> list[str]:
    """Returns sentences: which networks differ by more than their seeds."""
    sentences, seeds = [], min(row['seeds'] for row in rows)
    if seeds < 2:
        sentences.append('There is one seed per network, so nothing is known about the spread between seeds, and no '
                         'network can be called better; pass --seeds 3.')
    else:
        for row, *others in (rows[index:] for index in range(len(rows) - 1)):
            below = [other['network'] for other in others if other['highest'] < row['lowest']]
            equal = [other['network'] for other in others if other['highest'] >= row['lowest']]
            parts = [f'better than {", ".join(below)} in every seed'] if below else []
            parts += [f'not distinguishable from {", ".join(equal)}: the ranges of the seeds overlap'] if equal else []
            sentences.append(f'{row["network"]} is {"; ".join(parts)}.')
        chance = 2 / math.comb(2 * seeds, seeds)
        sentences.append(f'By chance, all {seeds} seeds of one network are above those of the other in {chance:.0%} of '
                         f'all pairs of equal networks{"; pass --seeds 3 or more" if seeds == 2 else ""}.')
    if images < FEW_IMAGES:
        sentences.append(f'The metric comes from only {images} validation images; other images can give another order '
                         'even where the seeds agree.')
    return sentences


def write_report(out: Path, rows: list[dict], recipes: dict[str, Config], settings: Settings,
                 rates: str) -> Comparison:
    """Writes README.md, results.csv and plot.png, and returns the comparison."""
    cfg = next(iter(recipes.values()))
    images = len(build_dataset(cfg, 'val'))
    result = Comparison(rows, differences(rows, images), METRICS[cfg.default_scope][1], out)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else get_device().replace('cpu', 'CPU')
    length = (f'{cfg.train_cfg.max_epochs} epochs' if 'max_epochs' in cfg.train_cfg else
              f'{cfg.train_cfg.max_iters} steps')
    size = next((line for line in summary(cfg) if line.startswith('image size')), '') if 'recipe' in cfg else ''
    conditions = [
        f'- data: {settings.data}, {images} validation images'
        + (f', {" ".join(size.split())}' if size else ''),
        f'- {length}, {cfg.train_dataloader.batch_size} images per step, '
        f'{"published" if settings.pretrained else "random"} weights'
        f'{", frozen backbone" if settings.freeze else ""}'
        f'{", light detectors" if is_light(settings) else ""}, the metric of the last evaluation; brackets: lowest and '
        'highest seed; minutes: of a run with all its starts',
        f'- {rates}',
        f'- measured on {device}; inference: median of at most {TIMED_IMAGES} images, with data steps, one image at a '
        'time, all networks in turn',
        '- memory, training: peak of the allocator on a GPU, resident memory of the process on a CPU; inference: '
        'weights and activations, counted',
        '- on a CPU, the same command in another folder gives the same metrics; times and resident memory vary',
        '- GMACs: multiply-adds of convolutions and matrix products, counted for the first validation image']
    title = f'# Comparison of {len(rows)} backbones\n\n    {command_of(list(recipes), rows[0]["seeds"], settings)}'
    write(out / 'README.md', f'{title}\n\n{result}\n![Metric against latency](plot.png)\n\n'
          + '\n'.join(conditions) + '\n')
    from ..drawing.ranking import draw_ranking
    write_csv(rows, out / 'results.csv')
    draw_ranking(out / 'plot.png', rows, result.unit)
    return result


def command_of(networks: Sequence[str], seeds: int, settings: Settings) -> str:
    """Returns the command of the comparison, without --out."""
    words = ['mmvit', 'compare', *networks]
    for name, value in dict(asdict(settings), seeds=seeds).items():
        flag = f'--{name.replace("_", "-")}'
        if not value:
            continue
        if value is True:
            words.append(flag)
        else:
            words += [flag, *map(str, value if isinstance(value, (list, tuple)) else [value])]
    return as_typed(words)


def table(rows: list[dict], unit: str) -> str:
    """Returns a Markdown table, in which the metric has its range in brackets."""
    shown = []
    for row in rows:
        others = {name: value for name, value in row.items() if name not in ('metric', 'lowest', 'highest', 'seeds')}
        metric = f'{row["metric"]:.1f} [{row["lowest"]:.1f}, {row["highest"]:.1f}]'
        shown.append({'network': row['network'], unit: metric, **others})
    return as_markdown(shown)
