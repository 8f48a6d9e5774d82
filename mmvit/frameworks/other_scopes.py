"""What MMEngine does by default with a config of any package, such as mmrotate, mmpose or one's own."""
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate

from mmvit_backbones.engine.atomic import PREFIX
from mmvit_backbones.errors import UsageError

from ..utils.config_parts import find, metrics_of
from .tasks import FRAMEWORKS

APPLIES_OPTIONS_LAST = False  # after all else that a script sets
TAKES_ANY_SIZE = False  # of the images, with the same masks; others have targets of a size, such as heatmaps
SUFFIXES = '.pkl', '.pickle'
collate = pseudo_collate  # of samples to a batch of the model's test_step


def complete(cfg: Config) -> None:
    """Sets in a config that was read what the framework's scripts set."""


def set_loaders(cfg: Config, loaders: tuple[str, ...], **defaults: Any) -> None:
    """Sets in loaders what the framework's scripts set."""


def use_float16(optim_wrapper: ConfigDict) -> None:
    """Sets mixed precision with scaled losses."""
    optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')


def draw(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Lets the framework's visualization hook draw all predictions."""
    refuse(cfg, 'show (--show) and show_dir (--show-dir)')


def drawing_hook(cfg: Config) -> ConfigDict:
    """Returns the framework's visualization hook.

    Raises:
        UsageError: If there is none.
    """
    if hook := find(cfg, 'default_hooks.visualization'):
        return hook
    raise UsageError('show (--show) and show_dir (--show-dir) need default_hooks.visualization, which '
                     f'{cfg.filename} does not set')


def draw_all(cfg: Config, show: bool, wait_time: float) -> ConfigDict:
    """Lets the hook of mmdet or mmseg draw all predictions, and returns it."""
    hook = drawing_hook(cfg)
    hook.draw = True
    if show:
        hook.update(show=True, wait_time=wait_time)
    return hook


def folder_of_drawings(cfg: Config, log_dir: str = '') -> str:
    """Returns the folder of a test's drawings, whose log is in ``log_dir``; empty for none."""
    return ''


def augment(cfg: Config, options: Mapping[str, Any]) -> None:
    """Replaces the model and the pipelines of a test by those of test-time augmentation."""
    refuse(cfg, 'tta (--tta)')


def save_predictions(cfg: Config, out: str) -> None:
    """Lets a test save its predictions to a file or a folder."""
    refuse(cfg, 'out (--out)')


def has_label_maps(dataset: dict) -> bool:
    """Returns whether a data set reads images and masks of labels with the loaders of mmseg."""
    return False


def padded_to(preprocessor: Mapping[str, Any]) -> int:
    """Returns of what the sides of padded images of a test are multiples, by the config of the data preprocessor."""
    return preprocessor.get('pad_size_divisor') or 1


def refuse(cfg: Config, argument: str) -> None:
    """Raises UsageError for what needs to know the framework of a config."""
    raise UsageError(f'{argument} is for configs of {", ".join(FRAMEWORKS)}, got {cfg.filename} of '
                     f'{cfg.default_scope}; use cfg_options (--cfg-options) for what it offers')


def dump_predictions(cfg: Config, out: str, kind: str = 'DumpResults') -> None:
    """Adds a metric to a test that saves its predictions with pickle.

    Raises:
        UsageError: If the file has another suffix.
    """
    if not out.endswith(SUFFIXES):
        raise UsageError(f'out must end with .pkl or .pickle, got {out}')
    cfg.test_evaluator = [*metrics_of(cfg, 'test'), ConfigDict(type=kind, out_file_path=f'{PREFIX}{out}')]
