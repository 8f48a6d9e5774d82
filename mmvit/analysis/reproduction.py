"""Tests a published checkpoint and compares the results with the published ones."""
import os.path as osp
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.config_weights import build_on_meta, official_name, try_to_read
from mmvit_backbones.zoo.published import PUBLISHED
from mmvit_backbones.zoo.variants import VARIANTS, parse_config_name

from ..folders.checks import check_data
from ..running import shorthand_options, test, testing_config
from ..utils.config import find_config, metrics_of, read_config
from ..utils.distributed import warn

# Key of a published result -> metric, factor from the metric's unit to the published unit, and tolerated difference.
MEASURED = {
    'top1': ('accuracy/top1', 1, 0.1), 'top5': ('accuracy/top5', 1, 0.1), 'real': ('real/top1', 1, 0.1),
    'val_loss': ('loss', 1, 0.005), 'box': ('coco/bbox_mAP', 100, 0.2), 'mask': ('coco/segm_mAP', 100, 0.2),
    'ade20k': ('mIoU', 1, 0.2), 'cityscapes': ('mIoU', 1, 0.2),
}


class ReproducedResult(NamedTuple):
    """A published and a measured result.

    Attributes:
        key (str): Key of the result, e.g. ``'top1'``.
        published (str): The published value, with its digits.
        measured (float): The measured value, in the same unit.
        tolerance (float): The largest difference with which the result counts as reproduced.
        note (str): Note on the published result.
    """

    key: str
    published: str
    measured: float
    tolerance: float
    note: str

    @property
    def is_reproduced(self) -> bool:
        return abs(self.measured - float(self.published)) <= self.tolerance

    def __str__(self) -> str:
        verdict = 'reproduced' if self.is_reproduced else f'differs by more than {self.tolerance}'
        note, digits = f' ({self.note})' if self.note else '', max(2, len(self.published.partition('.')[2]))
        return (f'{self.key:<16}{self.published:>11}{self.measured:>11.{digits}f}'
                f'{self.measured - float(self.published):>+12.{digits}f}  {verdict}{note}')


class Reproduction(NamedTuple):
    """The results of a published checkpoint, compared with the published ones; as text, a table.

    Attributes:
        config (str): Name of the config.
        checkpoint (str): The checkpoint.
        results (list[ReproducedResult]): The results.
    """

    config: str
    checkpoint: str
    results: list[ReproducedResult]

    def __str__(self) -> str:
        header = f'{"figure":<16}{"published":>11}{"measured":>11}{"difference":>12}  verdict'
        return '\n'.join([f'{self.config}, {self.checkpoint}', header, *map(str, self.results)])


def reproduce(name: str, *, checkpoint: str | None = None, data_root: str | None = None,
              real: str = 'data/imagenet/real.json', work_dir: str | None = None,
              cfg_options: Mapping[str, Any] | None = None) -> Reproduction:
    """Tests a published checkpoint and compares the results with the published ones.

    Results published for several scales and flips are measured with test-time augmentation.

    Args:
        name (str): Name of a network, whose classifier is tested on ImageNet, or a config.
        checkpoint (str | None): File or URL. Defaults to None: the published checkpoint, which is downloaded if it is
            not cached.
        data_root (str | None): Folder of the config's data set. Defaults to None: the config's.
        real (str): File with ImageNet's reassessed labels, ReaL, whose accuracy is skipped if there is no file.
            Defaults to ``'data/imagenet/real.json'``.
        work_dir (str | None): Folder for logs. Defaults to None: ``work_dirs/NAME``.
        cfg_options (Mapping | None): Settings that replace the config's.

    Raises:
        UsageError: If no results are published for the config, or the data or the checkpoint cannot be used; if neither
            can, the message names both.
    """
    path = Path(find_config(f'imagenet_{VARIANTS[name].short_name}' if name in VARIANTS else name))
    published = [line for line in PUBLISHED if line['config'] == path.stem and base_key(line['key']) in MEASURED]
    if not published:
        raise UsageError(f'no figures are published for {path.stem}')
    if not osp.isfile(real) and any(base_key(line['key']) == 'real' for line in published):
        warn(f'ReaL accuracy is skipped: {real} does not exist')
        published = [line for line in published if base_key(line['key']) != 'real']
    base = read_config(str(path))
    base.merge_from_dict(shorthand_options(base, data_root=data_root))
    options = {**shorthand_options(base, data_root=data_root), 'test_evaluator': evaluators(base, published, real),
               **(cfg_options or {})}

    def config_with(weights: str, tta: bool) -> Config:
        return testing_config(str(path), weights, work_dir=work_dir, tta=tta, cfg_options=options)

    weights = check(config_with(checkpoint or '', False), checkpoint, path.stem)
    results = []
    for tta in (False, True):
        if lines := [line for line in published if line['key'].endswith('_ms') == tta]:
            metrics = test(config_with(weights, tta))
            results += [reproduced(line, metrics) for line in lines]
    return Reproduction(path.stem, weights, results)


def base_key(key: str) -> str:
    """Returns a published result's key without the suffixes for ImageNet-22k and multi-scale testing."""
    return key.removesuffix('_22k').removesuffix('_ms')


def evaluators(cfg: Config, published: Sequence[dict[str, str]], real: str) -> list[dict]:
    """Returns the evaluators of a config's test, and those that the published results also need."""
    keys = {base_key(line['key']) for line in published}
    added = [dict(type='ImageNetReaL', label_file=real, topk=(1, 5))] if 'real' in keys else []
    added += [dict(type='MeanCrossEntropy')] if 'val_loss' in keys else []
    types = {metric['type'] for metric in added}
    return [*(metric for metric in metrics_of(cfg, 'test') if metric['type'] not in types), *added]


def check(cfg: Config, checkpoint: str | None, config: str) -> str:
    """Checks the data and the checkpoint, which is downloaded if necessary, and returns the checkpoint's name.

    Raises:
        UsageError: If the data or the checkpoint cannot be used; if neither can, the message names both.
    """
    missing = []
    try:
        build_on_meta(cfg)
        check_data(cfg, ['test'])
    except UsageError as error:
        missing.append(str(error))
    try:
        checkpoint = checkpoint or published_checkpoint(config)
        try_to_read(checkpoint)
    except CheckpointError as error:
        missing.append(f'{error}; set checkpoint (--checkpoint) to test another file')
    if missing or checkpoint is None:
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
        tag = variant.published_weights(wanted).tag  # raises CheckpointError for an unknown tag
    return official_name(variant.name, tag)


def reproduced(line: dict[str, str], metrics: Mapping[str, float]) -> ReproducedResult:
    """Compares a published result with the metrics of a test."""
    name, factor, tolerance = MEASURED[base_key(line['key'])]
    if name not in metrics:  # mmdet omits the metric if no boxes are predicted
        raise UsageError(f'{line["key"]} cannot be measured: the model found nothing in the images')
    return ReproducedResult(line['key'], line['value'], metrics[name] * factor, tolerance, line['note'])
