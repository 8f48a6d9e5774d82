"""Names of the networks in timm, as ``mm_NAME``: classifiers, and feature pyramids with ``features_only=True``.

Importing this module registers them for timm's ``create_model``, ``train.py`` and ``validate.py``.
https://huggingface.co/docs/timm
"""
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from timm.models import PretrainedCfg, generate_default_cfgs, register_model, register_notrace_module
from timm.models._features import FeatureGetterNet
from torch import nn

from ..backbones import Backbone
from ..errors import CheckpointError, UsageError
from ..utils.image_sizes import height_and_width
from ..zoo.loading import load_variant
from ..zoo.settings import setting
from ..zoo.source import open_weights
from ..zoo.variants import VARIANTS, Variant, list_models, official_name, task_of
from .timm_networks import TimmClassifier

SAVED_WEIGHTS = ['model.safetensors', 'pytorch_model.bin']  # as timm names them


def entry_point(name: str) -> Callable[..., nn.Module]:
    """Returns timm's entry point for ``mm_{name}``, which passes further arguments to the backbone.

    ``pretrained_model_args``, the arguments with which a saved network was made, are also given one by one.
    """
    variant = VARIANTS[name]

    def create(pretrained: bool = False, pretrained_cfg: str | dict | PretrainedCfg | None = None,
               pretrained_cfg_overlay: dict | None = None, cache_dir: str | None = None, features_only: bool = False,
               in_chans: int = 3, num_classes: int = 1000, out_indices: int | tuple[int, ...] | None = None,
               global_pool: str | None = None, img_size: int | Sequence[int] | None = None,
               strict_img_size: bool = False, dynamic_img_size: bool = True, pretrained_model_args: dict | None = None,
               device: str | torch.device | None = None, dtype: torch.dtype | None = None, **arguments) -> nn.Module:
        if cache_dir:
            raise ValueError(f'cache_dir must be None, got {cache_dir!r}; set the environment variable MMVIT_HOME')
        if strict_img_size or not dynamic_img_size:
            raise ValueError('strict_img_size must be False and dynamic_img_size True, because networks read images of '
                             f'any size, got {strict_img_size} and {dynamic_img_size}')
        for refused in {'type', 'init_cfg', '_scope_'} & arguments.keys():  # any function, in a hub's config
            raise ValueError(f'{refused} cannot be an argument of a network, got {arguments[refused]!r}')
        cfg = config_of(name, pretrained_cfg, pretrained_cfg_overlay)
        size = None if img_size is None else height_and_width(img_size, 'img_size')
        if size:
            cfg['input_size'] = (3, *size)
        side = max(size) if size else None  # positions are stored for squares, and interpolated for other images
        file = file_of(cfg) if pretrained else None
        named = official_name(variant, cfg['tag'] or True) if pretrained and file is None else file
        weights = open_weights(named, variant)
        if weights and weights.is_dense:
            raise UsageError(f"{named} has a detector's or segmenter's arguments; use mmvit_backbones.get_model("
                             f"'{name}', 'backbone', {named!r})")
        has_head = cfg['num_classes'] > 0 and not features_only  # a saved network may have no classifier
        known = cfg['tag'] if cfg['tag'] in variant.weights else None  # of a saved network, whose weights follow
        model = TimmClassifier(variant, cfg, (num_classes or 1000) if has_head else 0, in_chans, img_size=side,
                               weights=weights or open_weights(known, variant), **arguments)
        if features_only:
            load_variant(model.backbone, weights, new_head=False)
            features: Any = FeatureGetterNet(model, default_indices(model) if out_indices is None else out_indices)
            features.pretrained_cfg = features.default_cfg = cfg
            return features.to(device, dtype)
        if global_pool:
            model.reset_classifier(model.num_classes, global_pool)
        # If the file has another number of classes, it is loaded without its head.
        load_variant(model, weights, new_head=num_classes != cfg['num_classes'])
        if num_classes != model.num_classes or global_pool == '':
            model.reset_classifier(num_classes, global_pool)
        return model.to(device, dtype)

    create.__name__ = f'mm_{name}'
    return create


def config_of(name: str, given: str | dict | PretrainedCfg | None, overlay: dict | None) -> dict:
    """Returns timm's config of a network's weights, a tag or a config, with the overlay."""
    cfgs = default_cfgs[f'mm_{name}']
    if isinstance(given, str):  # weights without a classifier have no config, and unknown tags are refused on load
        given = asdict(cfgs.cfgs.get(given, cfgs.default)) | dict(tag=given)
    elif isinstance(given, PretrainedCfg):
        given = asdict(given)
    return asdict(cfgs.default) | (given or {}) | (overlay or {}) | dict(architecture=f'mm_{name}')


def default_indices(model: TimmClassifier) -> int:
    """Returns how many of the last maps ``features_only`` has: all, or those of three blocks of a plain network."""
    count = len(model.feature_info)
    return count if model.backbone.plain_blocks is None else min(3, count)


def file_of(cfg: dict) -> str | None:
    """Returns the file that timm's config names: in a hub, in a folder or by its path; or None."""
    if cfg['source'] == 'hf-hub':
        return find_in_hub(cfg['hf_hub_id'])
    return find_in_folder(Path(cfg['file'])) if cfg['source'] == 'local-dir' else cfg['file']


def find_in_folder(folder: Path) -> str:
    """Returns the weights that timm's ``save_for_hf`` wrote to a folder."""
    file = next((folder / name for name in SAVED_WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(f'{folder} must contain {" or ".join(SAVED_WEIGHTS)}')
    return str(file)


def find_in_hub(model_id: str) -> str:
    """Downloads the weights that timm's ``push_to_hf_hub`` saved as ``NAME[@REVISION]``, and returns the file."""
    from huggingface_hub import snapshot_download
    repository, _, revision = model_id.partition('@')
    return find_in_folder(Path(snapshot_download(repository, revision=revision or None, allow_patterns=SAVED_WEIGHTS)))


def published_cfgs(variant: Variant) -> dict[str, dict]:
    """Returns timm's configs of a network by ``NAME.TAG``; the config for the paper's image size is ``NAME``."""
    tags = [tag for tag in variant.weights if task_of(tag) == 'imagenet' and tag != str(variant.img_size)]
    return {f'mm_{variant.name}': published_cfg(variant, str(variant.img_size)),
            **{f'mm_{variant.name}.{tag}': published_cfg(variant, tag) for tag in tags}}


def published_cfg(variant: Variant, tag: str) -> dict:
    """Returns timm's config of a network with the weights of a tag, or without weights."""
    family, weights = variant.family, variant.weights.get(tag)
    found = setting(variant, weights=open_weights(tag if weights else None, variant))
    has_two = family.classifier.get('out_type') == 'tokens' and variant.head.get('dense', True)
    mean, std = (tuple(value / 255 for value in values) for values in (found.images.mean, found.images.std))
    return dict(
        mean=mean, std=std, input_size=(3, found.test.side, found.test.side), crop_pct=found.test.crop_pct,
        crop_mode='squash' if found.test.squash else 'center', interpolation=found.test.interpolation,
        classifier=('head.fc', 'head.aux_fc') if has_two else 'head.fc', license=family.license, origin_url=family.code,
        paper_name=family.title, paper_ids=f'arXiv:{family.paper.rsplit("/", 1)[-1]}',
        **(dict(url=weights.urls[0]) if weights else {}))


register_notrace_module(Backbone)  # a single node in torch.fx, because backbones branch on sizes
default_cfgs = generate_default_cfgs({name: cfg for variant in VARIANTS.values()
                                      for name, cfg in published_cfgs(variant).items()})
for _name in list_models():
    register_model(entry_point(_name))
