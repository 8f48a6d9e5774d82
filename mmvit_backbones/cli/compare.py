"""Compares backbones on the same data: the same head, recipe, schedule, augmentation, image order and seeds."""
import argparse
import csv
import itertools
import json
import math
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config

from ..analysis.counters import Counter, count_macs
from ..data.sizes import image_size
from ..errors import UsageError
from ..inference import Predictor
from ..utils.config import datasets_of, read_config
from ..utils.frameworks import import_quietly
from ..zoo.checks import official_name
from ..zoo.variants import VARIANTS
from . import finetune, steps
from .schedule import scale_length

METRICS = dict(mmpretrain=('accuracy/top1', 'top-1, %', 1), mmdet=('coco/bbox_mAP', 'box AP, %', 100),
               mmseg=('mIoU', 'mIoU, %', 1))
RESNET50 = dict(type='mmdet.ResNet', depth=50, num_stages=4, out_indices=(0, 1, 2, 3), style='pytorch')
COMMON_MAPS = [(256, stride) for stride in (4, 8, 16, 32)]  # of the heads that all backbones start from
PREPARATION = (steps.add_reliable_hooks, steps.set_options, steps.set_launcher, steps.use_data, steps.set_size,
               steps.check_training_data, steps.use_pretrained, steps.check_backbone, steps.set_batch_size,
               steps.set_lr)
MARKERS = 'o^sDvP*'  # 7, so that a marker meets each of matplotlib's 10 colors once
PROBE_STEPS, TIMED_IMAGES, FEW_IMAGES = 6, 20, 100
SETTINGS = ('config', 'class_folder', 'coco_folder', 'seg_folder', 'data_root', 'val_fraction', 'split_seed', 'epochs',
            'budget', 'pretrained', 'freeze', 'size', 'batch_size')  # equal in all calls for one output folder


def main(args: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends the running training, too
    out = Path(args.out)
    args.networks = list(dict.fromkeys(args.networks))
    settings = check_settings(out, args)
    recipes = {network: prepare(network, args, out) for network in args.networks}
    if args.budget and 'epochs_of_budget' not in settings:
        settings['epochs_of_budget'] = epochs_within(recipes, args, out)
    write(out / 'settings.json', json.dumps(settings, indent=1))
    for network, cfg in recipes.items():
        set_length(cfg, settings.get('epochs_of_budget') or args.epochs, is_recipe=args.config is None)
        save_recipe(cfg, folder_of(out, network))
    runs = [(network, seed) for seed in range(args.seeds) for network in recipes]
    results = {network: [] for network in recipes}
    for number, (network, seed) in enumerate(runs, 1):
        about, folder = f'[{number}/{len(runs)}] {network}, seed {seed}', folder_of(out, network)
        if not (folder / f'seed{seed}.json').exists():
            print(f'{about}: training, log in {folder}/seed{seed}.log', flush=True)
        result = train_once(folder, seed, recipes[network])
        results[network].append(result)
        print(f'{about}: {METRICS[recipes[network].default_scope][1]} {result["metric"]:.1f}', flush=True)
    rows = summarize(results, measure(recipes, out), recipes)
    report(out, rows, recipes, args)


def folder_of(out: Path, network: str) -> Path:
    return out / re.sub(r'[^\w.-]+', '_', network)


def write(path: Path, text: str) -> None:
    """Writes a file that is either complete or does not exist, even if the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    part.write_text(text)
    part.replace(path)


def save_recipe(cfg: Config, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Config(cfg.to_dict(), format_python_code=False).dump(str(folder / 'recipe.py'))  # formatting takes seconds


def check_settings(out: Path, args: argparse.Namespace) -> dict:
    """Returns the settings of the comparison in ``out``; raises UsageError if they differ from an earlier call's."""
    now = json.loads(json.dumps({name: getattr(args, name) for name in SETTINGS}))
    file = out / 'settings.json'
    if not file.exists():
        return now
    settings = json.loads(file.read_text())
    for name, value in now.items():
        if settings.get(name) != value:
            raise UsageError(f'{out} holds a comparison with {name}={settings.get(name)}, but now {name}={value}; pass '
                             'the same options, or another --out')
    return settings


# ---- recipes


def prepare(network: str, args: argparse.Namespace, out: Path) -> Config:
    """Returns the config of a network's runs, without their length; the data are checked, and lists are written."""
    task = next((task for name, task in finetune.TASKS.items() if getattr(args, name)), None)
    if args.config:
        cfg = read_config(args.config, ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'))
    elif task is None:
        raise UsageError('pass --class-folder, --coco-folder or --seg-folder, or --config with its own data')
    else:
        cfg = finetune.read_recipe(task, network)
        if task == 'detector' and not finetune.trains_masks(args):
            finetune.remove_masks(cfg)
    import_quietly(cfg.default_scope)
    cfg.setdefault('custom_imports', dict(imports=['mmvit_backbones']))
    backbone, modules = backbone_of(network, args.pretrained), ['training.equal_heads']
    if backbone['type'] == 'TimmBackbone':
        modules.append('integrations.timm_backbone')
    cfg.custom_imports.imports = [*cfg.custom_imports.imports, *(f'mmvit_backbones.{name}' for name in modules)]
    variant = VARIANTS.get(network)
    finetune.use_backbone(cfg, backbone, **(dict(mean=variant.family.mean, std=variant.family.std) if variant else {}))
    options = argparse.Namespace(**{
        **vars(args), 'config': 'recipe', 'pretrained': None, 'no_pretrained': not args.pretrained, 'cfg_options': None,
        'needs': (), 'launcher': 'none', 'check': False, 'lr': None if args.config else 'auto'})
    cfg.work_dir = str(out)
    steps.take_steps(PREPARATION, cfg, options)
    cfg.model.backbone = backbone  # --no-pretrained may have added arguments that only our backbones have
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='EqualHeadsHook', models=equal_heads(cfg)),
                        *([dict(type='FrozenBackboneHook')] if args.freeze else [])]
    cfg.pop('work_dir')
    return cfg


def backbone_of(network: str, pretrained: bool) -> dict:
    """Returns the config of a network's backbone.

    Raises:
        UsageError: If there is no such network.
    """
    if network in VARIANTS:
        rate, weights = (0.1, official_name(network, True)) if pretrained else (0., None)
        return dict(VARIANTS[network].backbone, drop_path_rate=rate,
                    init_cfg=dict(type='Pretrained', checkpoint=weights) if weights else None)
    if network.startswith('timm:'):
        from ..integrations import timm_backbone  # noqa: F401  registers TimmBackbone
        return dict(type='TimmBackbone', name=network.removeprefix('timm:'), pretrained=pretrained)
    if network == 'resnet50':
        norm = dict(norm_cfg=dict(type='BN', requires_grad=True), norm_eval=pretrained)
        weights = dict(type='Pretrained', checkpoint='torchvision://resnet50') if pretrained else None
        return dict(RESNET50, **norm, init_cfg=weights)
    try:
        return read_config(network).model.backbone.to_dict()
    except UsageError as error:
        raise UsageError(f'{network} must be a name from mmvit models, resnet50, timm:NAME, or a config: {error}'
                         ) from error


def equal_heads(cfg: Config) -> list[dict]:
    """Returns the configs of models whose necks and heads are initial values: fitted to the backbone, and to all."""
    own, common = deepcopy(cfg), deepcopy(cfg)
    if cfg.default_scope != 'mmpretrain' and cfg.model.get('neck', {}).get('type') != 'SimpleFeaturePyramid':
        finetune.fit_heads(common, COMMON_MAPS)
    models = [each.model.to_dict() for each in (own, common)]
    for model in models:
        model.update(backbone=dict(type='NoBackbone'), _scope_=cfg.default_scope)
    return models


def set_length(cfg: Config, epochs: int | None, is_recipe: bool) -> None:
    """Sets the number of epochs; configs by iterations get the same number of images."""
    images = cfg.train_dataloader.batch_size
    if is_recipe:
        finetune.set_length(cfg, epochs, None, images)
    elif epochs and 'max_epochs' in cfg.train_cfg:
        scale_length(cfg, 'epochs', epochs)
    elif epochs:
        scale_length(cfg, 'iters', epochs * math.ceil(finetune.number_of_images(cfg) / images))


# ---- runs


def train_once(folder: Path, seed: int | str, cfg: Config) -> dict:
    """Runs `mmvit train` once, unless it has already ended, and returns its metric, time and memory."""
    work_dir, done = folder / f'seed{seed}', folder / f'seed{seed}.json'
    if not done.exists():
        begin = time.monotonic()
        memory = run(['train', str(folder / 'recipe.py'), '--work-dir', str(work_dir), '--seed', str(seed),
                      '--resume', 'auto'], folder / f'seed{seed}.log')
        entries = [json.loads(line) for log in sorted(work_dir.glob('*/vis_data/scalars.json'))
                   for line in log.read_text().splitlines()]
        times = [entry['time'] for entry in entries if 'time' in entry and 'loss' in entry]
        gpu = [entry['memory'] * 2**20 for entry in entries if entry.get('memory')]
        key, _, factor = METRICS[cfg.default_scope]
        metric = [entry[key] for entry in entries if key in entry]
        write(done, json.dumps(dict(
            metric=metric[-1] * factor if metric else None, step=statistics.median(times[-max(1, len(times) // 2):]),
            memory=max(gpu, default=memory), seconds=time.monotonic() - begin)))
    return json.loads(done.read_text())


def run(arguments: Sequence[str], log: Path) -> int:
    """Runs a subcommand of mmvit, and returns the largest resident memory of its process in bytes.

    Raises:
        UsageError: If the subcommand fails; the message has its last line.
    """
    with log.open('a') as file:
        process = subprocess.Popen([sys.executable, '-m', 'mmvit', *arguments], stdout=file, stderr=file)
        try:
            _, status, usage = os.wait4(process.pid, 0)  # Popen.wait() does not return the memory
            process.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status:
        last = (log.read_text().splitlines() or ['no output'])[-1]
        raise UsageError(f'mmvit {arguments[0]} failed, see {log}: {last}; the same command continues')
    return usage.ru_maxrss * 1024


def epochs_within(recipes: dict[str, Config], args: argparse.Namespace, out: Path) -> int:
    """Returns the number of epochs for which all runs together take about ``args.budget`` seconds.

    Raises:
        UsageError: If one epoch takes longer.
    """
    per_epoch = fixed = 0.
    for network, cfg in recipes.items():
        print(f'{network}: measuring the time of a step', flush=True)
        probe = deepcopy(cfg)
        images = cfg.train_dataloader.batch_size
        dataset, = datasets_of(probe, 'train')
        dataset['indices'] = PROBE_STEPS * images
        probe.val_dataloader = probe.val_cfg = probe.val_evaluator = None
        probe.default_hooks.logger.interval = 1
        set_length(probe, 1, is_recipe=args.config is None)
        folder = folder_of(out, network) / 'probe'
        save_recipe(probe, folder)
        found = train_once(folder, 0, cfg)
        number = math.ceil(finetune.number_of_images(cfg) / images)
        per_epoch += found['step'] * number * 1.2  # and about a fifth for evaluations
        fixed += max(0., found['seconds'] - found['step'] * PROBE_STEPS)
    epochs = int((args.budget / args.seeds - fixed) / per_epoch)
    if epochs < 1:
        least = math.ceil(args.seeds * (fixed + per_epoch) / 60)
        raise UsageError(f'--budget must be at least {least}m, the time for one epoch of all runs, got '
                         f'{args.budget / 60:g}m')
    print(f'{epochs} epochs in each run, in all about {args.seeds * (fixed + epochs * per_epoch) / 60:.0f} minutes')
    return epochs


# ---- figures


def measure(recipes: dict[str, Config], out: Path) -> dict[str, dict]:
    """Returns parameters, GMACs, ms per image and memory of prediction, of the model with each backbone.

    The networks take turns, so that a busy machine slows down all of them.
    """
    predictors, figures = {}, {}
    for network in recipes:
        folder = folder_of(out, network)
        checkpoint = (folder / 'seed0/last_checkpoint').read_text().strip()
        predictors[network] = Predictor(checkpoint, str(folder / 'recipe.py'))
    image = next(iter(validation_images(next(iter(recipes.values())))))
    for network, predictor in predictors.items():
        module = predictor.model.module
        weights = sum(weight.numel() * weight.element_size() for weight in module.parameters())
        with Counter() as counter:
            predictor(image)
        memory = weights + counter.peak
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            predictor(image)
            memory = torch.cuda.max_memory_allocated()
        figures[network] = dict(parameters=sum(weight.numel() for weight in module.parameters()),
                                gmacs=count_macs(partial(predictor, image)), memory=memory, times=[])
    for path in itertools.islice(validation_images(next(iter(recipes.values()))), TIMED_IMAGES):
        for network, predictor in predictors.items():
            begin = time.perf_counter()
            predictor(path)
            figures[network]['times'].append(time.perf_counter() - begin)
    return figures


def validation_images(cfg: Config):
    """Yields the paths of the validation images."""
    from mmengine.registry import DATASETS, init_default_scope
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(dict(cfg.val_dataloader.dataset))
    for index in range(len(dataset)):
        yield dataset.get_data_info(index)['img_path']


def summarize(results: dict[str, list[dict]], figures: dict[str, dict], recipes: dict[str, Config]) -> list[dict]:
    """Returns a row per network, best first."""
    rows = []
    for network, runs in results.items():
        cfg, measured, metrics = recipes[network], figures[network], [run['metric'] for run in runs]
        rows.append({
            'network': network, 'metric': statistics.mean(metrics), 'lowest': min(metrics), 'highest': max(metrics),
            'seeds': len(runs), 'parameters, M': measured['parameters'] / 1e6, 'GMACs': measured['gmacs'],
            'ms per image, inference': 1000 * statistics.median(measured['times']),
            'ms per image, training': 1000 * statistics.median(run['step'] for run in runs)
            / cfg.train_dataloader.batch_size,
            'GB, inference': measured['memory'] / 1e9, 'GB, training': max(run['memory'] for run in runs) / 1e9,
            'images seen': images_seen(cfg)})
    return sorted(rows, key=lambda row: (-row['metric'], row['network']))


def images_seen(cfg: Config) -> int | str:
    """Returns the number of training images times the number of epochs."""
    if 'max_epochs' not in cfg.train_cfg:
        return cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size
    if 'ann_file' not in datasets_of(cfg, 'train')[0]:
        return 'unknown'
    return cfg.train_cfg.max_epochs * finetune.number_of_images(cfg)


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
            all_below = len(below) > 2 and below == [other['network'] for other in others[-len(below):]]
            named = f'{below[0]} and all networks below it' if all_below else ', '.join(below)
            parts = [f'better than {named} in every seed'] if below else []
            parts += [f'not distinguishable from {", ".join(equal)}: the ranges of the seeds overlap'] if equal else []
            sentences.append(f'{row["network"]} is {"; ".join(parts)}.')
        chance = 2 / math.comb(2 * seeds, seeds)
        sentences.append(f'By chance, all {seeds} seeds of one network are above those of the other in {chance:.0%} of '
                         f'all pairs of equal networks{"; pass --seeds 3 or more" if seeds == 2 else ""}.')
    if images < FEW_IMAGES:
        sentences.append(f'The metric comes from only {images} validation images; other images can give another order '
                         'even where the seeds agree.')
    return sentences


def report(out: Path, rows: list[dict], recipes: dict[str, Config], args: argparse.Namespace) -> None:
    """Prints the table and the differences, and writes README.md, results.csv and plot.png."""
    cfg = next(iter(recipes.values()))
    unit, images = METRICS[cfg.default_scope][1], sum(1 for _ in validation_images(cfg))
    text = f'{table(rows, unit)}\n\n' + '\n'.join(f'- {line}' for line in differences(rows, images)) + '\n'
    print(f'\n{text}')
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    height, width = image_size(cfg)
    conditions = [
        f'- data: {next((getattr(args, name) for name in finetune.TASKS if getattr(args, name)), args.config)}, '
        f'{images} validation images, images of {height} x {width} (height x width)',
        f'- {length_of(cfg)}, {cfg.train_dataloader.batch_size} images per step, '
        f'{"published" if args.pretrained else "random"} weights{", frozen backbone" if args.freeze else ""}, the '
        'metric of the last evaluation; brackets: lowest and highest seed',
        f'- measured on {device}; inference: median of at most {TIMED_IMAGES} images, with data steps, one image at a '
        'time, all networks in turn',
        '- memory on a GPU: peak of its allocator; on a CPU, training: resident memory of the process, inference: '
        'weights and counted activations',
        '- on a CPU, the same command in another folder gives the same metrics; times and resident memory vary',
        '- GMACs: multiply-adds of convolutions and matrix products, counted for the first validation image']
    title = f'# Comparison of {len(rows)} backbones\n\n    {command_of(args)}'
    write(out / 'README.md', f'{title}\n\n{text}\n![Metric against latency](plot.png)\n\n'
          + '\n'.join(conditions) + '\n')
    with (out / 'results.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    plot(out / 'plot.png', rows, unit)
    print(f'written: {out}/README.md, {out}/results.csv, {out}/plot.png')


def length_of(cfg: Config) -> str:
    return f'{cfg.train_cfg.max_epochs} epochs' if 'max_epochs' in cfg.train_cfg else f'{cfg.train_cfg.max_iters} steps'


def command_of(args: argparse.Namespace) -> str:
    """Returns the command of the comparison, without --out."""
    words = ['mmvit', 'compare', *args.networks]
    for name in (*SETTINGS, 'seeds'):
        value, flag = getattr(args, name), f'--{name.replace("_", "-")}'
        if value is True:
            words.append(flag)
        elif value:
            values = [f'{value:g}s'] if name == 'budget' else value if isinstance(value, (list, tuple)) else [value]
            words += [flag, *map(str, values)]
    return shlex.join(words)


def table(rows: list[dict], unit: str) -> str:
    names = [name for name in rows[0] if name not in ('metric', 'lowest', 'highest', 'seeds')]
    lines = [[names[0], unit, *names[1:]]]
    for row in rows:
        metric = f'{row["metric"]:.1f} [{row["lowest"]:.1f}, {row["highest"]:.1f}]'
        numbers = [f'{row[name]:.3g}' if isinstance(row[name], float) else str(row[name]) for name in names[1:]]
        lines.append([row['network'], metric, *numbers])
    lines.insert(1, ['---'] * len(lines[0]))
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def plot(path: Path, rows: list[dict], unit: str) -> None:
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    figure, axes = plt.subplots(figsize=(8.5, 4), layout='constrained')
    for index, row in enumerate(rows):
        x, y = row['ms per image, inference'], row['metric']
        axes.errorbar(x, y, [[y - row['lowest']], [row['highest'] - y]], fmt=MARKERS[index % len(MARKERS)], capsize=3,
                      label=row['network'])
    slowest = max(row['ms per image, inference'] for row in rows)
    axes.set(xlabel='ms per image, inference', ylabel=unit, xlim=(0, 1.1 * slowest))
    axes.grid(alpha=0.3)
    figure.legend(loc='outside right upper', title='best first', frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)
