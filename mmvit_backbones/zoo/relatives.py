"""Related networks of other libraries, whose weights can start this package's networks.

ReSwin and Swin-VSA have the tensors of Swin Transformer, ReViT those of ViT, and ReMViTv2 those of MViTv2. What a
relative lacks starts as in the authors' code.
"""
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import CheckpointError, UsageError, first_line
from ..utils.installation import install_command
from .converters import mvit, swin, vit
from .converters.relative import Relative, shortened
from .files import load_checkpoint_file

TIMM, TORCHVISION = 'timm://', 'torchvision://'
RELATIVES = tuple(layout for module in (swin, vit, mvit) for layout in vars(module).values()
                  if isinstance(layout, Relative))
# Weights that a relative lacks: the gate of attention residuals, and what Swin-VSA adds to Swin.
ADDED = re.compile(r'(?:backbone\.)?(?:gate|.*\.position\.conv|.*\.attn\.predictor)\.(?:weight|bias)')


@dataclass(frozen=True)
class PretrainedSettings:
    """What belongs to weights by name: mean and standard deviation of RGB images from 0 to 255, and the license."""
    mean: list[float]
    std: list[float]
    license: str


def relatives_of(backbone: str) -> list[Relative]:
    """Returns the layouts of other libraries that a class of backbones takes."""
    return [relative for relative in RELATIVES if backbone in relative.backbones]


def pretrained_settings(checkpoint: str) -> PretrainedSettings | None:
    """Returns mean, standard deviation and license of ``timm://NAME`` or ``torchvision://NAME``; None for other names.

    Raises:
        UsageError: If the name is unknown, or the library is not installed.
    """
    if checkpoint.startswith(TIMM):
        cfg = _timm_config(checkpoint)
        mean, std, terms = cfg['mean'], cfg['std'], cfg.get('license')
    elif checkpoint.startswith(TORCHVISION):
        transforms = _torchvision_weights(checkpoint).transforms()
        mean, std, terms = transforms.mean, transforms.std, 'BSD-3-Clause'
    else:
        return None
    mean, std = ([round(255 * x, 3) for x in values] for values in (mean, std))
    return PretrainedSettings(mean, std, terms or 'unknown')


def read_by_name(name: str) -> dict[str, Tensor]:
    """Returns the state dict of ``timm://NAME`` or ``torchvision://NAME``, downloaded and cached by the library.

    Raises:
        UsageError: If the name is unknown, or the library is not installed.
        CheckpointError: If the weights cannot be downloaded.
    """
    if settings := pretrained_settings(name):
        print_log(f'{name}: mean {settings.mean}, std {settings.std}, license {settings.license}', logger='current')
    try:
        if name.startswith(TIMM):
            import timm
            return timm.create_model(name.removeprefix(TIMM), pretrained=True).state_dict()
        return load_checkpoint_file(_fetch_torchvision(_torchvision_weights(name).url))
    except CheckpointError:
        raise
    except Exception as error:  # the libraries' downloaders raise errors of several packages
        raise CheckpointError(f'{name} cannot be downloaded: {first_line(error)}; download it elsewhere and use the '
                              'file instead of the name') from error


def _timm_config(name: str) -> Mapping:
    try:
        import timm
    except ImportError as error:
        raise UsageError(f'{name} needs timm: {install_command("timm")}') from error
    name = name.removeprefix(TIMM)
    if ':' not in name:
        if name not in timm.list_pretrained() and not (timm.is_model(name) and timm.is_model_pretrained(name)):
            near = timm.list_pretrained(f'{name.partition(".")[0]}*')[:12]
            hint = f'; did you mean {", ".join(near)}?' if near else '; see timm.list_pretrained()'
            raise UsageError(f'{TIMM}{name}: timm has no weights with this name{hint}')
        return vars(timm.get_pretrained_cfg(name, allow_unregistered=False))
    try:
        with torch.device('meta'):  # local-dir:FOLDER or hf-hub:NAME
            return dict(vars(timm.create_model(name, pretrained=False))['pretrained_cfg'])
    except Exception as error:
        raise UsageError(f'{TIMM}{name}: {first_line(error)}') from error


def _torchvision_weights(name: str) -> Any:
    """Returns torchvision's ``WeightsEnum`` of ``torchvision://NAME`` or ``torchvision://NAME.WEIGHTS``."""
    try:
        from torchvision import models
    except ImportError as error:
        raise UsageError(f'{name} needs torchvision: {install_command("torchvision")}') from error
    network, _, tag = name.removeprefix(TORCHVISION).lower().partition('.')
    if network not in models.list_models():
        raise UsageError(f'{name}: torchvision has no model {network}; see torchvision.models.list_models()')
    weights: Any = models.get_model_weights(network)
    found = {each.name.lower(): each for each in weights} | {'': weights.DEFAULT, 'default': weights.DEFAULT}
    if tag not in found:
        raise UsageError(f'{name}: weights must be one of {", ".join(each.name for each in weights)}, got {tag}')
    return found[tag]


def _fetch_torchvision(url: str) -> Path:
    """Returns the file in torch hub's cache, where torchvision keeps its weights; downloads a missing file."""
    path = Path(torch.hub.get_dir(), 'checkpoints', url.rpartition('/')[2])
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = re.search(r'-([0-9a-f]{8,})\.', path.name)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest and digest[1], progress=False)
    return path


def start_rest(model: nn.Module, weights: Mapping[str, Tensor], relative: Relative, source: str, new_head: bool
               ) -> dict[str, Tensor]:
    """Returns the weights of a relative with the model's own values for what the relative lacks, which are logged.

    With ``new_head``, the model also keeps its own head if the weights have none.

    Raises:
        CheckpointError: If only the model's head is missing in the weights, and ``new_head`` is False.
    """
    own = model.state_dict()
    has_head = any(key.startswith('head.') for key in weights)
    rest = {key: x for key, x in own.items() if key not in weights and (
        ADDED.fullmatch(key) or new_head and not has_head and key.startswith('head.'))}
    missing = own.keys() - weights.keys() - rest.keys()
    if missing and all(key.startswith('head.') for key in missing):
        raise CheckpointError(f"{source} has no classifier for this network; use get_model(..., task='backbone'), or "
                              'num_classes=NUMBER for an untrained classifier')
    if rest:
        print_log(f"{source}: {relative.network} lacks {len(rest)} weights, which start as in the authors' code: "
                  f'{shortened(list(rest))}', logger='current')
    return {**weights, **rest}
