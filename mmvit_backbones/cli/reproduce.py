"""Tests a published checkpoint and compares the results with the published ones."""
import argparse
import os.path as osp
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from ..data.checks import check_data
from ..errors import CheckpointError, UsageError
from ..training.run_hooks import CheckpointMatchHook
from ..utils.config import find_config, load_config
from ..zoo import checks
from ..zoo.checks import check_checkpoint
from ..zoo.loading import use_safe_loading
from ..zoo.published import PUBLISHED
from ..zoo.variants import VARIANTS, parse_config_name
from . import testing
from .custom_data import use_data_root
from .steps import set_work_dir

# Key of a published result -> metric, factor from the metric's unit to the published unit, and tolerated difference.
MEASURED = {
    'top1': ('accuracy/top1', 1, 0.1), 'top5': ('accuracy/top5', 1, 0.1), 'real': ('real/top1', 1, 0.1),
    'val_loss': ('loss', 1, 0.005), 'box': ('coco/bbox_mAP', 100, 0.2), 'mask': ('coco/segm_mAP', 100, 0.2),
    'ade20k': ('mIoU', 1, 0.2), 'cityscapes': ('mIoU', 1, 0.2),
}


def main(args: argparse.Namespace) -> None:
    path = config_of(args.name)
    figures = [line for line in PUBLISHED if line['config'] == path.stem and base_key(line['key']) in MEASURED]
    if not figures:
        raise UsageError(f'no figures are published for {path.stem}')
    if not osp.isfile(args.real) and any(base_key(line['key']) == 'real' for line in figures):
        print(f'ReaL accuracy is skipped: {args.real} does not exist')
        figures = [line for line in figures if base_key(line['key']) != 'real']
    runs = [(tta, lines) for tta in (False, True)
            if (lines := [line for line in figures if line['key'].endswith('_ms') == tta])]
    checkpoint = prepare(args, path)
    rows = []
    for tta, lines in runs:
        metrics = measure(make_config(args, path, lines), checkpoint, tta)
        rows += [compare(line, metrics) for line in lines]
    print(f'{path.stem}, {checkpoint}',
          f'{"figure":<16}{"published":>11}{"measured":>11}{"difference":>12}  verdict', *rows, sep='\n')


def config_of(name: str) -> Path:
    """Returns the path of a config, or of a network's ImageNet config."""
    return Path(find_config(f'imagenet_{VARIANTS[name].short_name}' if name in VARIANTS else name))


def base_key(key: str) -> str:
    """Returns a published result's key without the suffixes for ImageNet-22k and multi-scale testing."""
    return key.removesuffix('_22k').removesuffix('_ms')


def make_config(args: argparse.Namespace, path: Path, lines: Sequence[dict[str, str]] = ()) -> Config:
    """Returns the config with the metrics that the published results require."""
    cfg = load_config(str(path), args.cfg_options)
    set_work_dir(cfg, args)
    keys = {base_key(line['key']) for line in lines}
    if 'real' in keys:
        testing.use_real(cfg, args.real)
    if 'val_loss' in keys:
        testing.add_metric(cfg, type='MeanCrossEntropy')
    if args.data_root:
        use_data_root(cfg, args.data_root)
    return cfg


def prepare(args: argparse.Namespace, path: Path) -> str:
    """Checks the data and the checkpoint, which is downloaded if necessary, and returns the checkpoint's name.

    Raises:
        UsageError: If the data or the checkpoint cannot be used; if neither can, the message names both.
    """
    missing, checkpoint = [], ''
    try:
        cfg = make_config(args, path)
        checks.check_backbone(cfg)
        check_data(cfg, ['test'])
    except UsageError as error:
        missing.append(str(error))
    try:
        checkpoint = args.checkpoint or published_checkpoint(path.stem)
        check_checkpoint(checkpoint)
    except CheckpointError as error:
        missing.append(f'{error}; use --checkpoint to test another file')
    if missing:
        raise UsageError('; '.join(missing))
    return checkpoint


def published_checkpoint(config: str) -> str:
    """Returns the ``official://`` name of the authors' checkpoint of a config.

    Raises:
        CheckpointError: If no URL of the checkpoint is known.
    """
    task, variant, differences = parse_config_name(config)
    tags = {variant.config_name(tag): tag for tag in variant.weights}
    tag = tags.get(config)
    if tag is None:
        task = '' if task == 'imagenet' else task
        wanted = '_'.join(filter(None, [task, *differences])) or str(variant.img_size)
        tag = variant.find_weights(wanted).tag  # raises CheckpointError for an unknown tag
    return checks.official_name(variant.name, tag)


def measure(cfg: Config, checkpoint: str, tta: bool) -> dict[str, float]:
    cfg.load_from = checkpoint
    if tta:
        testing.use_tta(cfg)
    use_safe_loading()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(CheckpointMatchHook(checkpoint, strict=True))
    return runner.test()


def compare(line: dict[str, str], metrics: dict[str, float]) -> str:
    """Returns a row of the table, with the note on the published result if there is one."""
    name, factor, tolerance = MEASURED[base_key(line['key'])]
    if name not in metrics:  # mmdet omits the metric if no boxes are predicted
        raise UsageError(f'{line["key"]} cannot be measured: the model found nothing in the images')
    published, measured = float(line['value']), metrics[name] * factor
    difference = measured - published
    verdict = 'reproduced' if abs(difference) <= tolerance else f'differs by more than {tolerance}'
    note = f' ({line["note"]})' if line['note'] else ''
    digits = max(2, len(line['value'].partition('.')[2]))
    return f'{line["key"]:<16}{published:>11}{measured:>11.{digits}f}{difference:>+12.{digits}f}  {verdict}{note}'
