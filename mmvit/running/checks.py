"""Checks what a run reads and writes, before it is built."""
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from mmvit_backbones.errors import UsageError

from ..configs.backbone import build_on_meta, check_pretrained
from ..configs.settings import check_settings
from ..folders.data_set_files import check_data
from ..utils.devices import has_mixed_precision
from .rehearsal import build_parts


def check_run(cfg: Config, checks_data: bool = True) -> None:
    """Checks what a training will use: its settings, parts, files, annotations, and the weights of its backbone.

    Args:
        cfg (Config): Config of the run, such as those of :func:`training_config`.
        checks_data (bool): Whether to check the data, too; ``fine_tune`` has done so. Defaults to True.

    Raises:
        UsageError: If the settings, a part, the data or the weights of the backbone are unusable.
    """
    if cfg.optim_wrapper.get('type') == 'AmpOptimWrapper' and not has_mixed_precision():
        raise UsageError(f'optim_wrapper is AmpOptimWrapper, but MMEngine has no mixed precision on {get_device()}; '
                         "in a copy of the config, set optim_wrapper=dict(type='OptimWrapper') without loss_scale and "
                         'dtype')
    check_settings(cfg)
    backbone = build_on_meta(cfg)
    build_parts(cfg)
    if checks_data:
        check_data(cfg, ['train', 'val'])
    if backbone:
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
