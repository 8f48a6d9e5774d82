"""Test-time augmentation, as the scripts of the frameworks set it."""
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict

from mmvit_backbones.errors import UsageError

from ..utils.config_parts import datasets_of

FLIPS = [dict(type='RandomFlip', prob=1.), dict(type='RandomFlip', prob=0.)]


def use_flips(cfg: Config, model: Mapping[str, Any], pack: dict | None = None) -> None:
    """Gives a test the model that merges predictions, and the pipeline ``tta_pipeline``, or else its own with flips.

    Args:
        cfg (Config): Config of the test.
        model (Mapping): The config's ``tta_model``, or the framework's.
        pack (dict | None): Last step of the pipelines with flips. Defaults to None: their own.
    """
    for dataset in datasets_of(cfg, 'test'):
        steps = cfg.get('tta_pipeline')
        if steps is None:
            steps = deepcopy(dataset['pipeline'])
            steps[-1] = ConfigDict(type='TestTimeAug', transforms=[FLIPS, [pack or steps[-1]]])
        dataset['pipeline'] = steps
    cfg.model = ConfigDict(**model, module=cfg.model)


def check_pipeline(cfg: Config, options: Mapping[str, Any]) -> None:
    """Raises UsageError if options have set the pipeline that ``tta_pipeline`` replaces."""
    lost = [key for key in options if key.startswith('test_dataloader.') and '.pipeline' in key]
    if lost and cfg.get('tta_pipeline'):
        raise UsageError(f'tta: tta_pipeline replaces what {lost[0]} sets; set it in tta_pipeline')
