"""Checks what a run reads and writes, before it is built."""
import os.path as osp
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DATASETS

from mmvit_backbones.engine.atomic import PREFIX
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_outputs
from mmvit_backbones.zoo.config_weights import build_on_meta, check_pretrained

from ..folders.data_set_files import check_data, paths_of
from ..folders.unread_images import files_in
from ..utils.config_files import datasets_of, metrics_of
from ..utils.devices import has_mixed_precision
from ..utils.frameworks import quiet, use_framework
from .settings import check_settings


def check_run(cfg: Config, processes: int = 1, checks_data: bool = True) -> None:
    """Checks what a training will use: its settings, the files and annotations of its data, and the backbone's weights.

    Args:
        cfg (Config): Config of the run, such as those of :func:`training_config`.
        processes (int): Number of processes. Defaults to 1.
        checks_data (bool): Whether to check the data, too; ``fine_tune`` has done so. Defaults to True.

    Raises:
        UsageError: If the settings, the data, the backbone or its weights are unusable.
    """
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and not has_mixed_precision():
        raise UsageError(f'optim_wrapper is AmpOptimWrapper, but MMEngine has no mixed precision on {get_device()}; '
                         "in a copy of the config, set optim_wrapper=dict(type='OptimWrapper') without loss_scale and "
                         'dtype')
    if cfg.get('strategy') and cfg.get('launcher', 'none') == 'none' and processes == 1:
        raise UsageError('--strategy fsdp needs several processes: use --processes N or --launcher')
    if cfg.get('strategy') and any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or []):
        raise UsageError('EMAHook (--ema) averages whole weights, and --strategy fsdp shards them; use one of them')
    check_settings(cfg)
    if checks_data:
        check_data(cfg, ['train', 'val'])
    if backbone := build_on_meta(cfg):
        try:
            check_pretrained(backbone)
        except UsageError as error:
            raise UsageError(f'{error} (for a network and a folder: --no-pretrained)') from error


def check_batches(runner: Any) -> None:
    """Raises UsageError if an epoch has no batch; MMEngine's schedulers would fail."""
    loader = runner.train_dataloader
    if not len(loader.dataset):
        raise UsageError(f'the training data set {type(loader.dataset).__name__} is empty; filter_cfg may have removed '
                         'all images')
    if not len(loader):
        images, batch_size = len(loader.dataset) // runner.world_size, loader.batch_sampler.batch_size
        raise UsageError(f'train_dataloader.batch_size must be at most {images}, the number of training images per '
                         f'process, because this config drops incomplete batches; got {batch_size}')


def check_test_outputs(cfg: Config) -> None:
    """Raises UsageError if a test would write over what it reads, or through a link.

    OpenMMLab writes label images and drawings into files that exist.
    """
    metrics = metrics_of(cfg, 'test')
    files = [str(metric['out_file_path']).removeprefix(PREFIX) for metric in metrics if metric.get('out_file_path')]
    check_outputs('out (--out)', files, [cfg.filename, cfg.get('load_from'), *(
        path for dataset in datasets_of(cfg, 'test') for path in paths_of(dataset))])
    shown = {'out (--out)': [metric['output_dir'] for metric in metrics if metric.get('output_dir')],
             'show_dir (--show-dir)': [folder_of_drawings(cfg)]}
    existing = {name: [path for folder in folders if osp.isdir(folder) for path in Path(folder).iterdir()]
                for name, folders in shown.items()}
    if not any(existing.values()):
        return
    read = list(files_of(cfg, 'test'))
    for name, paths in existing.items():
        check_outputs(name, paths, read)
        if links := [path for path in paths if path.is_symlink() and path.is_file()]:
            raise UsageError(f'{name}: {links[0]} is a link, and what it points to could be replaced; choose another '
                             'folder')


def folder_of_drawings(cfg: Config) -> str:
    """Returns the folder of a test's drawings, which mmdet puts into that of the log; empty for none."""
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    save_dir = (cfg.get('visualizer') or {}).get('save_dir')
    if hook.get('draw') and save_dir:  # of mmseg
        return osp.join(save_dir, 'vis_data', 'vis_image')
    return hook.get('test_out_dir') or hook.get('enable') and hook.get('out_dir') or ''


def files_of(cfg: Config, split: str) -> Iterator[str]:
    """Yields the images and masks of a split's data."""
    use_framework(cfg.default_scope)
    for part in datasets_of(cfg, split):
        with quiet():  # pycocotools prints its steps
            dataset: Any = DATASETS.build(dict(part, pipeline=[]))
        yield from files_in(dataset)
