"""Finds the authors' weights for a config, and the config for their weights."""
from pathlib import Path

from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.reading import find_checkpoint
from mmvit_backbones.zoo.settings import variants_of
from mmvit_backbones.zoo.variants import VARIANTS, official_name, published_by


def source_of(cfg: Config, checkpoint: str | None, tag: str | bool | None) -> str:
    """Returns ``checkpoint`` (:func:`find_checkpoint`), or else the ``official://`` name of the authors' weights.

    Raises:
        UsageError: If both or neither are set, or the config's backbone is not a published network.
        CheckpointError: If there are no weights with this tag.
    """
    if bool(checkpoint) == bool(tag):
        raise UsageError(f'pass either checkpoint or pretrained, got checkpoint={checkpoint} and pretrained={tag}')
    if checkpoint or not tag:
        return find_checkpoint(str(checkpoint))
    variants = variants_of(cfg.model.get('backbone') or {}, cfg.model.get('head') or {})
    if not variants:
        raise UsageError(f'pretrained={tag}: the backbone of {cfg.filename} is not in mmvit_backbones.list_models(); '
                         'with other settings, pass checkpoint=official://NAME')
    # What differs in the head alone is told by the config's name, where there are weights of several.
    name = f'{Path(cfg.filename).stem}_'
    best = max(variants, key=lambda variant: (
        variant.has_weights(tag), len(variant.short_name) * (f'_{variant.short_name}_' in name)))
    return official_name(best, tag)


def config_of_network(network: str, checkpoint: str) -> str | None:
    """Returns the name of the config with which a network's checkpoint is tested; None if there is no such network.

    It is that of the published weights ``official://NETWORK/TAG``, or else the classifier's.

    Raises:
        CheckpointError: If there are no weights with this tag.
    """
    if network not in VARIANTS:
        return None
    variant, published = VARIANTS[network], published_by(checkpoint)
    if published and published[0] is variant:
        return variant.config_name(variant.published_weights(published[1]).tag)
    return variant.config_name(str(variant.img_size))
