"""Parameters without weight decay, as ``paramwise_cfg`` of MMEngine's optimizers, to copy into configs."""
from mmengine.registry import MODELS
from torch import device

from ...backbones import Backbone

GENERAL = 'backbone'  # the key of a whole backbone in published recipes


def weight_decay_cfg(backbone: dict, lr_mult: float | None = None) -> dict:
    """Returns a ``paramwise_cfg`` without weight decay for norms, position tables, tokens and gates of a backbone.

    Biases of other layers keep the decay that the recipe gives them.

    Longer keys of ``custom_keys`` win over shorter ones, and keys win over ``norm_decay_mult``. Recipes with a learning
    rate for the ``backbone`` therefore need keys for single modules, which ``lr_mult`` asks for.

    Args:
        backbone (dict): Config of the backbone, such as ``dict(type='ReSwin', arch='tiny')``.
        lr_mult (float | None): Factor of the backbone's learning rate. Defaults to None: the recipe has no key
            ``backbone``.

    Raises:
        KeyError: If the backbone's type is not registered.
        TypeError: If it is not a network of this package, or has no such argument.
        ValueError: If an argument is invalid.

    Example:
        >>> from mmvit_backbones.engine import weight_decay_cfg
        >>> weight_decay_cfg(dict(type='ReSwin', arch='tiny'))['custom_keys']
        {'relative_position_bias_table': {'decay_mult': 0.0}}
    """
    with device('meta'):
        built = MODELS.build(dict(backbone, init_cfg=None))
    if not isinstance(built, Backbone):
        raise TypeError(f'backbone must be a backbone of this package, got {type(built).__name__}')
    general = dict(norm_decay_mult=0.)
    if lr_mult is None:
        names = [name for name, _ in built.named_parameters()]
        keys = {part: dict(decay_mult=0.) for part in built.no_decay if any(part in name for name in names)}
        return dict(general, custom_keys=keys) if keys else general
    exempt = sorted(f'{GENERAL}.{name}' for name in built.no_weight_decay())
    decayed = [f'{GENERAL}.{name}' for name, _ in built.named_parameters() if f'{GENERAL}.{name}' not in set(exempt)]
    modules = dict.fromkeys(shortest_key(name, decayed) for name in exempt)
    return dict(general, custom_keys={
        GENERAL: dict(lr_mult=lr_mult), **{key: dict(lr_mult=lr_mult, decay_mult=0.) for key in modules}})


def shortest_key(name: str, others: list[str]) -> str:
    """Returns the shortest beginning of a parameter's name, in whole modules, that no other name has in it."""
    parts = name.split('.')
    beginnings = ('.'.join(parts[:length]) for length in range(2, len(parts) + 1))
    return next(key for key in beginnings if not any(key in other for other in others))
