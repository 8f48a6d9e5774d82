"""Pretrained weights that timm and OpenMMLab publish under a name, and download.

``timm://NAME`` can start a network with the same tensors; see ``converters/library_layout.py``.
"""
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.runner import checkpoint
from torch import Tensor

from ..errors import CheckpointError, CheckpointNotFoundError, UsageError, first_line
from ..utils.installation import install_command
from ..utils.messages import near_names
from .download import fetch_url
from .variants import Normalization

HUB_OF_TIMM = 'timm://'
# Names in MMEngine's tables; those of torchvision are not its default weights.
OPENMMLAB = 'open-mmlab://', 'openmmlab://', 'mmcls://', 'modelzoo://', 'torchvision://'


def images_of(name: str) -> Normalization | None:
    """Returns how the images of ``timm://NAME`` are normalized; None for other names.

    Raises:
        UsageError: If the name is unknown, or timm is not installed.
    """
    return images_of_config(timm_config(name)) if name.startswith(HUB_OF_TIMM) else None


def images_of_config(cfg: Mapping) -> Normalization:
    """Returns how images are normalized according to timm's config of weights."""
    mean, std = ([round(255 * x, 3) for x in cfg[key]] for key in ('mean', 'std'))
    return Normalization(mean, std)


def read_timm(name: str) -> dict[str, Tensor]:
    """Returns the state dict of ``timm://NAME``, which timm downloads and caches.

    Raises:
        UsageError: If the name is unknown, or timm is not installed.
        CheckpointError: If the weights cannot be downloaded.
    """
    timm_config(name)  # refuses unknown names
    import timm
    try:
        with brief_warnings(name):
            return timm.create_model(name.removeprefix(HUB_OF_TIMM), pretrained=True).state_dict()
    except Exception as error:  # downloaders raise errors of several packages
        raise CheckpointError(f'{name} cannot be downloaded: {first_line(error)}; download it elsewhere and use the '
                              'file instead of the name') from error


def timm_network(name: str) -> torch.nn.Module:
    """Returns the network of ``timm://NAME`` without memory, for its names and shapes."""
    import timm
    with torch.device('meta'):
        return timm.create_model(name.removeprefix(HUB_OF_TIMM))


def fetch_openmmlab(name: str) -> Path:
    """Returns the file of a name in MMEngine's tables, from torch hub's cache, where MMEngine keeps it, or its URL.

    Args:
        name (str): ``open-mmlab://NAME``, ``mmcls://NAME``, ``torchvision://NAME`` and others.

    Raises:
        CheckpointError: If the name is unknown, or the weights cannot be downloaded.
    """
    scheme, _, model = name.partition('://')
    if scheme == 'mmcls':
        urls = checkpoint.get_mmcls_models()
    elif scheme in ('open-mmlab', 'openmmlab'):
        urls, model = checkpoint.get_external_models(), checkpoint.get_deprecated_model_names().get(model, model)
    else:
        urls = checkpoint.get_torchvision_models()
    url: str = urls.get(model, '')
    if not url.startswith(('http://', 'https://')):
        raise CheckpointNotFoundError(f'{name}: MMEngine has no URL for this name{near_names(model, urls)}')
    path = Path(torch.hub.get_dir(), 'checkpoints', url.rpartition('/')[2])
    return path if path.exists() else fetch_url(url)


@contextmanager
def brief_warnings(name: str) -> Iterator[None]:
    """Lets timm name two unknown names of weights, not all."""
    def shorten(record: logging.LogRecord) -> bool:
        text = re.sub(r'\(([^(),]+, [^(),]+), [^()]+\)', r'(\1, ...)', record.getMessage())
        record.msg, record.args = f'{name}: {text}', ()
        return True

    logger = logging.getLogger('timm.models._builder')
    logger.addFilter(shorten)
    try:
        yield
    finally:
        logger.removeFilter(shorten)


def timm_config(name: str) -> Mapping:
    """Returns timm's config of the weights ``timm://NAME``; see :func:`images_of`."""
    try:
        import timm
    except ImportError as error:
        raise UsageError(f'{name} needs timm: {install_command("timm")}') from error
    name = name.removeprefix(HUB_OF_TIMM)
    if name not in timm.list_pretrained() and not (timm.is_model(name) and timm.is_model_pretrained(name)):
        near = timm.list_pretrained(f'{name.partition(".")[0]}*')[:12]
        hint = f'; did you mean {", ".join(near)}?' if near else '; see timm.list_pretrained()'
        raise UsageError(f'{HUB_OF_TIMM}{name}: timm has no weights with this name{hint}')
    return vars(timm.get_pretrained_cfg(name, allow_unregistered=False))
