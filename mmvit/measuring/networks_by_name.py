"""Networks that are measured, of this package and of other libraries."""
from collections.abc import Callable
from pathlib import Path

import torch

from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.building import import_mmpretrain
from mmvit_backbones.zoo.variants import VARIANTS

NEEDS_MMPRETRAIN = f'needs mmpretrain: {install_command("mmpretrain")}'


def default_size(dense: bool) -> tuple[int, int]:
    return (448, 672) if dense else (224, 224)


def is_checkpoint(name: str) -> bool:
    """Returns whether a name is not that of a network, but of a checkpoint or a work dir."""
    return name not in VARIANTS and (name.endswith('.pth') or Path(name).is_dir())


def build(name: str, dense: bool, override: dict | None, size: tuple[int, int]) -> torch.nn.Module:
    """Builds a network with arguments of its backbone, which networks of other libraries do not have."""
    if ':' in name:
        if override:
            raise UsageError(f'override requires networks of this package, got {name}')
        return build_other(name, 'network', dense, size)
    try:
        return get_model(name, 'backbone' if dense else 'classification', **(override or {}))
    except (TypeError, ValueError) as error:
        raise UsageError(f'override: {first_line(error)}') from error
    except ImportError:
        raise UsageError(f'the classifier {name} {NEEDS_MMPRETRAIN}; or measure it as dense') from None


def build_other(name: str, argument: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    """Builds a network of this package, or for ``LIBRARY:NAME`` of another library; errors start with ``argument``."""
    library, _, plain_name = name.rpartition(':')
    if library not in LIBRARIES:
        raise UsageError(f'{argument} must be NAME, timm:NAME or mmpretrain:NAME, got {name}')
    try:
        return LIBRARIES[library](plain_name, dense, size)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = error if isinstance(error, UsageError) else first_line(error)
        raise UsageError(f'{argument} {name}: {reason}') from error
    except ImportError:
        if library == 'timm':
            raise UsageError(f'{argument} {name} needs timm: pip install timm, or use a network listed by mmvit '
                             'models') from None
        raise UsageError(f'{argument} {name} {NEEDS_MMPRETRAIN}') from None


def build_own(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    return get_model(name, 'backbone' if dense else 'classification')


def build_timm(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    import timm
    from timm.models import get_pretrained_cfg
    options: dict = dict(features_only=True) if dense else {}
    if (settings := get_pretrained_cfg(name)) and settings.fixed_input_size:
        options['img_size'] = size
    return timm.create_model(name, pretrained=False, **options)


def build_mmpretrain(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    if dense:
        raise UsageError('networks of mmpretrain have no form for dense prediction')
    import_mmpretrain()
    from mmpretrain import get_model
    model = get_model(name, pretrained=False)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got a {type(model).__name__}')
    return model


LIBRARIES: dict[str, Callable[..., torch.nn.Module]] = {
    '': build_own, 'timm': build_timm, 'mmpretrain': build_mmpretrain}
