"""Networks that are measured, of this package and of other libraries."""
from typing import Any

import torch

from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.building import import_mmpretrain


def build(name: str, argument: str, dense: bool, size: tuple[int, int], override: dict | None = None
          ) -> torch.nn.Module:
    """Builds a network of this package, or for ``LIBRARY:NAME`` of another library; errors start with ``argument``.

    ``override`` are arguments of the backbone, which networks of other libraries do not have.
    """
    library, _, plain_name = name.rpartition(':')
    if library not in ('', 'timm', 'mmpretrain'):
        raise UsageError(f'{argument} must be NAME, timm:NAME or mmpretrain:NAME, got {name}')
    if library and override:
        raise UsageError(f'override requires networks of this package, got {name}')
    try:
        if library == 'timm':
            return build_timm(plain_name, dense, size)
        if library == 'mmpretrain':
            return build_mmpretrain(plain_name, dense)
        return get_model(plain_name, 'backbone' if dense else 'classification', **(override or {}))
    except (RuntimeError, TypeError, ValueError) as error:
        reason = error if isinstance(error, UsageError) else first_line(error)
        raise UsageError(f'{"override" if override else f"{argument} {name}"}: {reason}') from error
    except ImportError:
        if library == 'timm':
            raise UsageError(f'{argument} {name} needs timm: pip install timm, or use a network listed by mmvit '
                             'models') from None
        hint = '' if library else '; or measure it as dense'
        raise UsageError(f'{argument} {name} needs mmpretrain: {install_command("mmpretrain")}{hint}') from None


def build_timm(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    import timm
    from timm.models import get_pretrained_cfg
    options: dict = dict(features_only=True) if dense else {}
    if (settings := get_pretrained_cfg(name)) and settings.fixed_input_size:
        options['img_size'] = size
    return timm.create_model(name, pretrained=False, **options)


def build_mmpretrain(name: str, dense: bool) -> Any:
    if dense:
        raise UsageError('networks of mmpretrain have no form for dense prediction')
    import_mmpretrain()
    from mmpretrain import get_model
    return get_model(name, pretrained=False)
