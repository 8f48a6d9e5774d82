"""Networks with timm's interface: classifiers, and feature pyramids with ``features_only=True``.

Importing this module registers all networks as ``mmvit_NAME`` for timm's ``create_model``, ``train.py`` and
``validate.py``.
https://huggingface.co/docs/timm
"""
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Literal

import torch
from timm.models import FeatureInfo, PretrainedCfg, generate_default_cfgs, register_model, register_notrace_module
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from ..backbones import Backbone
from ..zoo.build import get_backbone
from ..zoo.loading import load_variant
from ..zoo.variants import VARIANTS, Variant, list_models
from .classifier import Classifier

# Class tokens, position embeddings and biases, and gates of attention residuals: recipes exempt them from weight decay.
# timm itself exempts one-dimensional parameters.
NO_WEIGHT_DECAY = re.compile(r'pos_embed|class_token|rel_pos|relative_position_bias_table|gate\.')


class TimmFeatures(nn.Module):
    """A backbone with timm's ``feature_info``.

    Args:
        backbone (Backbone): Any backbone of this package.

    Example:
        >>> import timm, torch
        >>> import mmvit_backbones.integrations.timm
        >>> model = timm.create_model('mmvit_reswin_tiny', features_only=True, out_indices=(1, 3))
        >>> model.feature_info.channels(), model.feature_info.reduction()
        ([192, 768], [8, 32])
    """

    pretrained_cfg: dict
    default_cfg: dict

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_info = FeatureInfo(stages_of(backbone, backbone.output_strides), backbone.out_indices)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns one NCHW map per entry of ``out_indices`` for images ``(B, in_chans, H, W)``."""
        return list(self.backbone(images))


def stages_of(backbone: Backbone, strides: Sequence[int]) -> list[dict]:
    """Returns timm's ``feature_info`` of every stage."""
    return [dict(num_chs=channels, reduction=stride, module=f'stage{i}')
            for i, (channels, stride) in enumerate(zip(backbone.channels, strides))]


class TimmClassifier(Classifier):
    """A network with the interface of timm's classifiers; its weights have this package's names.

    Args:
        variant (Variant), num_classes (int), in_chans (int), drop_rate (float): See :class:`Classifier`.
        arguments: Arguments of the backbone.
    """

    def __init__(self, variant: Variant, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.,
                 **arguments) -> None:
        super().__init__(variant, num_classes, in_chans, drop_rate, **arguments)
        self.feature_info = stages_of(self.backbone, self.backbone.strides)  # of the maps of forward_intermediates
        self.num_features = self.head_hidden_size = self.head.channels
        self.reset_classifier(num_classes)
        cfg = asdict(default_cfgs[f'mmvit_{variant.name}'].default)
        stride = self.backbone.output_strides[-1]
        self.pretrained_cfg = self.default_cfg = cfg | dict(
            architecture=f'mmvit_{variant.name}', num_classes=num_classes,
            pool_size=None if self.has_tokens else tuple(-(-side // stride) for side in cfg['input_size'][1:]),
            first_conv=next(f'backbone.{name}' for name, module in self.backbone.named_modules()
                            if isinstance(module, nn.Conv2d) and module.in_channels == in_chans))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x if self.global_pool == '' else super().forward_head(x, pre_logits)

    def forward_intermediates(self, images: Tensor, indices: int | list[int] | None = None, norm: bool = False,
                              stop_early: bool = False, output_fmt: str = 'NCHW',
                              intermediates_only: bool = False) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Returns :meth:`forward_features` and pre-norm NCHW features; with ``intermediates_only``, only the latter.

        All stages run, also with ``stop_early``.

        Raises:
            ValueError: If ``output_fmt`` is not ``'NCHW'`` or ``norm`` is True.
            AssertionError: If ``indices`` are out of range.
        """
        if output_fmt != 'NCHW' or norm:
            raise ValueError(f"output_fmt must be 'NCHW' and norm must be False, got {output_fmt!r} and {norm}")
        taken, _ = feature_take_indices(len(self.feature_info), indices)
        if intermediates_only:
            stages = self.backbone.forward_stages(images)
            return [stages[i] for i in taken]
        features, stages = self.forward_features_and_stages(images)
        return features, [stages[i] for i in taken]

    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the last layer; ``num_classes=0`` removes it, and with ``global_pool=''`` also the pooling.

        Raises:
            ValueError: If ``global_pool`` is another pooling, or ``''`` with ``num_classes`` other than 0.
        """
        pool = 'token' if self.has_tokens else 'avg'
        if global_pool not in (None, '', pool) or (global_pool == '' and num_classes):
            raise ValueError(f"global_pool must be None, {pool!r}, or '' with num_classes=0, got {global_pool!r} and "
                             f'num_classes={num_classes}')
        self.num_classes = num_classes
        self.global_pool = pool if global_pool is None else global_pool
        self.head.reset(num_classes)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enables or disables activation checkpointing."""
        self.backbone.with_cp = enable

    @torch.jit.ignore()
    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if NO_WEIGHT_DECAY.search(name)}

    @torch.jit.ignore()
    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Returns a function from the name of a parameter to the index of its block, or of its stage if ``coarse``."""
        depth_of = self.backbone.get_stage_depth if coarse else self.backbone.get_layer_depth
        return lambda name: depth_of(name, 'backbone.')[0]


def entry_point(name: str) -> Callable[..., nn.Module]:
    """Returns timm's entry point for ``mmvit_{name}``, which passes further arguments to the backbone."""
    variant = VARIANTS[name]

    def create(pretrained: bool = False, pretrained_cfg: str | dict | PretrainedCfg | None = None,
               pretrained_cfg_overlay: dict | None = None, cache_dir: str | None = None, features_only: bool = False,
               in_chans: int = 3, num_classes: int = 1000, out_indices: Sequence[int] | None = None,
               checkpoint: str | None = None, global_pool: str | None = None,
               img_size: int | Sequence[int] | None = None, **arguments) -> nn.Module:
        if cache_dir:
            raise ValueError(f'cache_dir must be None, got {cache_dir!r}; set the environment variable MMVIT_HOME')
        height, width = (img_size, img_size) if isinstance(img_size, int | None) else img_size
        if height != width:
            raise ValueError(f'img_size must be the side of square images, got {img_size}; without img_size, the '
                             'network supports images of any size')
        tag, file = find_weights(pretrained_cfg, pretrained_cfg_overlay)
        checkpoint = checkpoint or (file if pretrained else None)
        weights = tag if pretrained and checkpoint is None else False
        if features_only:
            if out_indices is not None:
                arguments['out_indices'] = out_indices
            for argument in ('drop_rate', 'feature_cls'):  # arguments of classifiers
                arguments.pop(argument, None)
            features = TimmFeatures(get_backbone(name, checkpoint, weights, in_channels=in_chans, img_size=height,
                                                 **arguments))
            features.pretrained_cfg = features.default_cfg = asdict(default_cfgs[f'mmvit_{name}'].default)
            return features
        # If num_classes is not 1000, a checkpoint with another number of classes is loaded without its head.
        model = TimmClassifier(variant, num_classes or 1000, in_chans, img_size=height, **arguments)
        load_variant(model, variant, 'classification', checkpoint, weights, new_head=num_classes != 1000)
        if not num_classes or global_pool is not None:
            model.reset_classifier(num_classes, global_pool)
        return model

    create.__name__ = f'mmvit_{name}'
    return create


def find_weights(pretrained_cfg: str | dict | PretrainedCfg | None,
                 overlay: dict | None) -> tuple[str | Literal[True], str | None]:
    """Returns tag and file of the weights, from timm's ``pretrained_cfg`` (a tag or a config) and its overlay."""
    if isinstance(pretrained_cfg, str):
        return pretrained_cfg, (overlay or {}).get('file')
    config = asdict(pretrained_cfg) if isinstance(pretrained_cfg, PretrainedCfg) else pretrained_cfg
    config = {**(config or {}), **(overlay or {})}
    return config.get('tag') or True, config.get('file')


def published_cfgs(variant: Variant) -> dict[str, dict]:
    """Returns timm's configs of a network by ``NAME.TAG``; the config for the paper's image size is ``NAME``."""
    family = variant.family
    common = dict(mean=tuple(value / 255 for value in family.mean), std=tuple(value / 255 for value in family.std),
                  classifier='head.fc', license=family.license, origin_url=family.code, paper_name=family.title,
                  paper_ids=f'arXiv:{family.paper.rsplit("/", 1)[-1]}')
    cfgs = {f'mmvit_{variant.name}': dict(common, input_size=(3, variant.img_size, variant.img_size))}
    for tag, weights in variant.weights.items():
        if variant.config_name(tag).startswith('imagenet'):
            side = int(tag) if tag.isdigit() else variant.img_size
            name = f'mmvit_{variant.name}' + ('' if tag == str(variant.img_size) else f'.{tag}')
            cfgs[name] = dict(common, input_size=(3, side, side), url=weights.urls[0])
    return cfgs


register_notrace_module(Backbone)  # a single node in torch.fx, because backbones branch on sizes
default_cfgs = generate_default_cfgs({name: cfg for variant in VARIANTS.values()
                                      for name, cfg in published_cfgs(variant).items()})
for _name in list_models():
    register_model(entry_point(_name))
