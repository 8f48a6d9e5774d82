"""Networks with timm's interface: classifiers, and feature pyramids with ``features_only=True``.

Importing this module registers all networks as ``mm_NAME`` for timm's ``create_model``, ``train.py`` and
``validate.py``.
https://huggingface.co/docs/timm
"""
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from timm.models import (
    FeatureInfo,
    PretrainedCfg,
    generate_default_cfgs,
    register_model,
    register_notrace_module,
)
from torch import Tensor, nn

from ..backbones import Backbone
from ..errors import CheckpointError
from ..utils.image_sizes import height_and_width
from ..zoo.building import get_backbone
from ..zoo.loading import load_variant
from ..zoo.variants import VARIANTS, Variant, list_models
from .plain_classifier import Classifier, ClassifierHead, check_arguments

SAVED_WEIGHTS = 'model.safetensors', 'pytorch_model.bin'  # as timm names them


class TimmFeatures(nn.Module):
    """A backbone with the interface of timm's ``features_only`` networks.

    The maps are those of the backbone, after the output norms. A plain network has a map per block, all after its
    output norm, as timm's plain networks. What only later maps need is removed from the backbone.

    Args:
        backbone (Backbone): Any backbone of this package.
        out_indices (Sequence[int] | None): Stages, or blocks of a plain network, whose maps are returned, in ascending
            order. Defaults to None: ``backbone.out_indices``, or the last three blocks.
        image_size (tuple[int, int] | None): Height and width that images must have. Defaults to None: any size.

    Example:
        >>> import timm, torch
        >>> import mmvit_backbones.integrations.timm
        >>> model = timm.create_model('mm_reswin_tiny', features_only=True, out_indices=(1, 3))
        >>> model.feature_info.channels(), model.feature_info.reduction()
        ([192, 768], [8, 32])
    """

    pretrained_cfg: dict
    default_cfg: dict

    def __init__(self, backbone: Backbone, out_indices: Sequence[int] | None = None,
                 image_size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = image_size
        infos = infos_of(backbone, backbone.output_strides, 'backbone.')
        if out_indices is None:
            is_plain = backbone.plain_blocks is not None
            out_indices = range(len(infos))[-3:] if is_plain else backbone.out_indices
        self.feature_info = FeatureInfo(infos, tuple(out_indices))
        keep_levels(backbone, max(out_indices) + 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns one NCHW map per entry of ``out_indices`` for images ``(B, in_chans, H, W)``."""
        check_size(images, self.image_size)
        if self.backbone.plain_blocks is None:
            return list(self.backbone(images))
        norm = self.backbone.output_norm(0)
        return [to_format(norm(x), 'NCHW') for i, (x, _) in enumerate(iter_levels(self.backbone, images))
                if i in self.feature_info.out_indices]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enables or disables activation checkpointing."""
        self.backbone.with_cp = enable


# ---- levels: the stages of a pyramid, or the blocks of a plain network


def infos_of(backbone: Backbone, strides: Sequence[int], prefix: str) -> list[dict]:
    """Returns timm's ``feature_info`` of every stage, or of every block of a plain network."""
    names = {module: name for name, module in backbone.named_modules(prefix=prefix.removesuffix('.'))}
    if backbone.plain_blocks is not None:
        return [dict(num_chs=backbone.channels[0], reduction=strides[0], module=names[block], index=i)
                for i, (block, *_) in enumerate(backbone.stage_layers(0))]
    return [dict(num_chs=backbone.channels[i], reduction=stride, module=names[backbone.stage_output(i)], index=i)
            for i, stride in enumerate(strides)]


def iter_levels(backbone: Backbone, images: Tensor) -> Iterator[tuple[Tensor, Any]]:
    """Yields the map of each level before its output norm, ``(B, H, W, C)``, and what the backbone would return."""
    backbone.check_images(images)
    if backbone.plain_blocks is None:
        yield from backbone.iter_stages(images)
        return
    for x in backbone.iter_blocks(images):
        yield x, level_norm(backbone, 0)(x)


def level_norm(backbone: Backbone, level: int) -> nn.Module:
    """Returns the output norm of a level; all blocks of a plain network share one."""
    return backbone.output_norm(level if backbone.plain_blocks is None else 0)


def keep_levels(backbone: Backbone, number: int) -> None:
    if backbone.plain_blocks is None:
        backbone.keep_stages(number)
    else:
        backbone.keep_blocks(number)


def to_format(x: Tensor, output_fmt: str) -> Tensor:
    """Returns a map ``(B, H, W, C)`` as ``'NCHW'``, ``'NHWC'`` or ``'NLC'``."""
    if output_fmt == 'NLC':
        return x.flatten(1, 2)
    return x.permute(0, 3, 1, 2).contiguous() if output_fmt == 'NCHW' else x


def take_indices(num_levels: int, indices: int | Sequence[int] | None, name: str) -> list[int]:
    """Returns ascending indices of levels from timm's forms: None for all, an int for the last ones, or negative ones.

    Raises:
        ValueError: If ``indices`` are out of range.
    """
    given = range(num_levels) if indices is None else indices
    if isinstance(given, int):
        given = range(num_levels - given, num_levels) if 0 < given <= num_levels else ()
    taken = [index + num_levels if index < 0 else index for index in given]
    if not taken or not all(0 <= index < num_levels for index in taken):
        raise ValueError(f'{name} must be a number of maps from 1 to {num_levels}, or indices from {-num_levels} to '
                         f'{num_levels - 1}, got {indices}')
    return sorted(set(taken))


def check_size(images: Tensor, size: tuple[int, int] | None) -> None:
    if size is not None and tuple(images.shape[2:]) != size:
        raise ValueError(f'images must be {size[0]} x {size[1]} pixels (height x width) with strict_img_size=True, got '
                         f'{images.shape[2]} x {images.shape[3]}')


class TimmClassifier(Classifier):
    """A network with the interface of timm's classifiers; its weights have this package's names.

    Args:
        variant (Variant), num_classes (int), in_chans (int), drop_rate (float): See :class:`Classifier`.
        pretrained_cfg (dict | None): timm's config of the weights. Defaults to None: that of the paper's image size.
        image_size (tuple[int, int] | None): Height and width that images must have. Defaults to None: any size.
        arguments: Arguments of the backbone.
    """

    def __init__(self, variant: Variant, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.,
                 pretrained_cfg: dict | None = None, image_size: tuple[int, int] | None = None, **arguments) -> None:
        super().__init__(variant, num_classes, in_chans, drop_rate, **arguments)
        self.in_chans = in_chans
        self.image_size = image_size
        self.feature_info = infos_of(self.backbone, self.backbone.strides, 'backbone.')  # of forward_intermediates
        self.num_features = self.head_hidden_size = self.head.in_features
        self.num_classes = num_classes
        cfg = pretrained_cfg or asdict(default_cfgs[f'mm_{variant.name}'].default)
        stride = self.backbone.output_strides[-1]
        self.pretrained_cfg = self.default_cfg = cfg | dict(
            architecture=f'mm_{variant.name}', num_classes=num_classes,
            pool_size=None if self.has_tokens else tuple(-(-side // stride) for side in cfg['input_size'][1:]),
            first_conv=f'backbone.{self.backbone.image_convs[0]}')

    def forward_features(self, images: Tensor) -> Tensor:
        check_size(images, self.image_size)
        return super().forward_features(images)

    def set_input_size(self, img_size: int | Sequence[int] | None = None, patch_size: None = None) -> None:
        """Sets the size that images must have with ``strict_img_size``; other networks read any size as they are.

        Args:
            img_size (int | Sequence[int] | None): Side, or height and width, in pixels. Defaults to None: unchanged.
            patch_size (None): Cannot be changed.

        Raises:
            ValueError: If ``img_size`` is invalid, or ``patch_size`` is given.
        """
        if patch_size is not None:
            raise ValueError(f'patch_size must be None, because the networks have a fixed stem, got {patch_size}')
        if img_size is not None:
            size = height_and_width(img_size, 'img_size')
            self.image_size = self.image_size and size

    def forward_intermediates(self, images: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False,
                              stop_early: bool = False, output_fmt: str = 'NCHW',
                              intermediates_only: bool = False) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Returns :meth:`forward_features` and maps of stages, or of blocks of a plain network.

        Args:
            images (Tensor): ``(B, in_chans, H, W)``.
            indices (int | Sequence[int] | None): Maps to return: the last ones, or indices, which may be negative.
                Defaults to None: all.
            norm (bool): Whether to apply the output norms that the backbone has. The norm of a plain network is applied
                to the maps of all its blocks. Defaults to False.
            stop_early (bool): Whether to end after the last of ``indices``. The first result is its map, then.
            output_fmt (str): ``'NCHW'``, ``'NHWC'`` or, for plain networks, ``'NLC'``.
            intermediates_only (bool): Whether to return the maps only, and to end after the last of them.

        Raises:
            ValueError: If ``output_fmt`` or ``indices`` are not supported.
        """
        formats = ('NCHW', 'NHWC') if self.backbone.plain_blocks is None else ('NCHW', 'NHWC', 'NLC')
        if output_fmt not in formats:
            raise ValueError(f'output_fmt must be one of {formats}, got {output_fmt!r}')
        taken = take_indices(len(self.feature_info), indices, 'indices')
        check_size(images, self.image_size)
        ends = taken[-1] + 1 if stop_early or intermediates_only else len(self.feature_info)
        maps: list[Tensor] = []
        out: Any = None
        for i, (x, out) in zip(range(ends), iter_levels(self.backbone, images)):  # noqa: B007  out is used below
            if i in taken:
                maps.append(to_format(level_norm(self.backbone, i)(x) if norm else x, output_fmt))
        if intermediates_only:
            return maps
        return self.read_last((out if self.has_tokens else to_format(out, 'NCHW'), )), maps

    def prune_intermediate_layers(self, indices: int | Sequence[int] = 1, prune_norm: bool = False,
                                  prune_head: bool = True) -> list[int]:
        """Removes what the maps of ``indices`` don't need, and returns their indices.

        Args:
            indices (int | Sequence[int]): As in :meth:`forward_intermediates`.
            prune_norm (bool): Whether to remove the norm of the last map, too. Norms of removed stages always go.
            prune_head (bool): Whether to remove the last layer and the pooling.

        Raises:
            ValueError: If ``indices`` are out of range.
        """
        taken = take_indices(len(self.feature_info), indices, 'indices')
        keep_levels(self.backbone, taken[-1] + 1)
        self.feature_info = self.feature_info[:taken[-1] + 1]
        if prune_norm:
            self.backbone.remove_last_norm()
        if prune_head:
            self.neck = None
            self.dense = False
            self.head = self.make_head(0)
            self.num_features = self.head_hidden_size = self.head.in_features
            self.reset_classifier(0, '')
        return taken

    def get_classifier(self) -> nn.Module:
        """Returns the last layer; or a list of both, where ``default_cfg['classifier']`` names two."""
        if not isinstance(self.head, ClassifierHead):
            return self.head
        return self.head.fc if self.head.aux_fc is None else nn.ModuleList([self.head.fc, self.head.aux_fc])

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the last layer; ``num_classes=0`` removes it.

        Args:
            num_classes (int): Number of classes.
            global_pool (str | None): ``'avg'`` for the mean of the map or the patch tokens; ``'token'`` for the class
                token, if there is one; with ``num_classes=0``, ``''`` for the map or tokens themselves. Defaults to
                None: unchanged.

        Raises:
            ValueError: If ``global_pool`` is another pooling, or ``''`` with ``num_classes`` other than 0.
        """
        pools = ('token', 'avg') if self.has_tokens else ('avg', )
        if global_pool is None and num_classes and not self.global_pool:
            global_pool = pools[0]
        if global_pool not in (None, '', *pools) or (global_pool == '' and num_classes):
            allowed = ', '.join(map(repr, pools))
            raise ValueError(f"global_pool must be None, {allowed}, or '' with num_classes=0, got {global_pool!r} and "
                             f'num_classes={num_classes}')
        self.num_classes = num_classes
        self.global_pool = self.global_pool if global_pool is None else global_pool
        if isinstance(self.head, ClassifierHead):
            self.head.reset(num_classes, global_pool)
        else:
            self.head = self.make_head(num_classes)
        weight = next(self.backbone.parameters())
        self.head.to(weight.device, weight.dtype).train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Enables or disables activation checkpointing."""
        self.backbone.with_cp = enable

    @torch.jit.ignore()
    def no_weight_decay(self) -> set[str]:
        return {f'backbone.{name}' for name in self.backbone.no_weight_decay()}

    @torch.jit.ignore()
    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Returns a function from the name of a parameter to the index of its block, or of its stage if ``coarse``."""
        depth_of = self.backbone.get_stage_depth if coarse else self.backbone.get_layer_depth
        return lambda name: depth_of(name, 'backbone.')[0]


def entry_point(name: str) -> Callable[..., nn.Module]:
    """Returns timm's entry point for ``mm_{name}``, which passes further arguments to the backbone."""
    variant = VARIANTS[name]

    def create(pretrained: bool = False, pretrained_cfg: str | dict | PretrainedCfg | None = None,
               pretrained_cfg_overlay: dict | None = None, cache_dir: str | None = None, features_only: bool = False,
               in_chans: int = 3, num_classes: int = 1000, out_indices: int | Sequence[int] | None = None,
               checkpoint: str | None = None, global_pool: str | None = None,
               img_size: int | Sequence[int] | None = None, strict_img_size: bool = False,
               dynamic_img_size: bool | None = None, pretrained_model_args: dict | None = None,
               **arguments) -> nn.Module:
        if cache_dir:
            raise ValueError(f'cache_dir must be None, got {cache_dir!r}; set the environment variable MMVIT_HOME')
        check_arguments(arguments)
        cfg = config_of(name, pretrained_cfg, pretrained_cfg_overlay)
        size = None if img_size is None else height_and_width(img_size, 'img_size')
        if size:
            cfg['input_size'] = (3, *size)
        is_strict = strict_img_size if dynamic_img_size is None else not dynamic_img_size
        _, height, width = cfg['input_size']
        image_size = (height, width) if is_strict else None
        side = max(size) if size else None  # positions are stored for squares, and interpolated for other images
        if checkpoint is not None and checkpoint == (pretrained_model_args or {}).get('checkpoint'):
            checkpoint = None  # of the model that was saved with these arguments
        weights: str | bool = False
        if pretrained and checkpoint is None:
            tag, checkpoint = tag_and_file(pretrained_cfg, pretrained_cfg_overlay)
            weights = tag if checkpoint is None else False
        if features_only:
            arguments.pop('drop_rate', None)  # of classifiers
            if (kind := arguments.pop('feature_cls', 'getter')) not in ('getter', 'list', 'hook'):
                raise ValueError(f"feature_cls must be 'getter', 'list' or 'hook', which are equal, got {kind!r}")
            indices = None
            if out_indices is not None:
                with torch.device('meta'):
                    planned = get_backbone(name, img_size=side, **arguments)
                levels = infos_of(planned, planned.strides, '')
                indices = take_indices(len(levels), out_indices, 'out_indices')
                if planned.plain_blocks is None:
                    arguments['out_indices'] = indices
            features = TimmFeatures(get_backbone(name, checkpoint, weights, in_channels=in_chans, img_size=side,
                                                 **arguments), indices, image_size)
            features.pretrained_cfg = features.default_cfg = cfg | dict(architecture=f'mm_{name}')
            return features
        # If the checkpoint has another number of classes, it is loaded without its head.
        has_head = cfg['num_classes'] > 0  # False for a saved network without classifier
        model = TimmClassifier(variant, (num_classes or 1000) if has_head else 0, in_chans, pretrained_cfg=cfg,
                               image_size=image_size, img_size=side, **arguments)
        if global_pool:
            model.reset_classifier(model.num_classes, global_pool)
        load_variant(model, variant, 'classification', checkpoint, weights,
                     new_head=num_classes != cfg['num_classes'])
        if num_classes != model.num_classes or global_pool == '':
            model.reset_classifier(num_classes, global_pool)
        return model

    def create_on(*args, device: str | torch.device | None = None, dtype: torch.dtype | None = None,
                  **arguments) -> nn.Module:
        with nullcontext() if device is None else torch.device(device):
            return create(*args, **arguments).to(dtype=dtype)

    create_on.__name__ = f'mm_{name}'
    return create_on


def config_of(name: str, pretrained_cfg: str | dict | PretrainedCfg | None, overlay: dict | None) -> dict:
    """Returns timm's config of a network's weights, a tag or a config, with the overlay."""
    cfgs = default_cfgs[f'mm_{name}']
    cfg = pretrained_cfg or cfgs.default
    if isinstance(cfg, str):
        cfg = cfgs.cfgs.get(cfg, cfgs.default)  # of weights without a classifier; others are refused on load
    own = asdict(cfg) if isinstance(cfg, PretrainedCfg) else asdict(cfgs.default) | cfg
    return own | (overlay or {})


def tag_and_file(pretrained_cfg: str | dict | PretrainedCfg | None,
                 overlay: dict | None) -> tuple[str | Literal[True], str | None]:
    """Returns tag and file of the weights, from timm's ``pretrained_cfg`` (a tag or a config) and its overlay."""
    if isinstance(pretrained_cfg, str):
        return pretrained_cfg, (overlay or {}).get('file')
    config = asdict(pretrained_cfg) if isinstance(pretrained_cfg, PretrainedCfg) else pretrained_cfg
    config = {**(config or {}), **(overlay or {})}
    if config.get('source') == 'hf-hub':
        return True, find_in_hub(config['hf_hub_id'])
    tag = config.get('tag') or True
    return tag, find_in_folder(Path(config['file'])) if config.get('source') == 'local-dir' else config.get('file')


def find_in_folder(folder: Path) -> str:
    """Returns the weights that timm's ``save_for_hf`` wrote to a folder."""
    file = next((folder / name for name in SAVED_WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(f'{folder} must contain {" or ".join(SAVED_WEIGHTS)}')
    return str(file)


def find_in_hub(model_id: str) -> str:
    """Downloads the weights that timm's ``push_to_hf_hub`` saved as ``NAME[@REVISION]``, and returns the file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError
    repository, _, revision = model_id.partition('@')
    for name in SAVED_WEIGHTS:
        try:
            return hf_hub_download(repository, name, revision=revision or None)
        except EntryNotFoundError:
            continue
    raise CheckpointError(f'{model_id} must contain {" or ".join(SAVED_WEIGHTS)}')


def published_cfgs(variant: Variant) -> dict[str, dict]:
    """Returns timm's configs of a network by ``NAME.TAG``; the config for the paper's image size is ``NAME``."""
    family = variant.family
    has_two = family.classifier.get('out_type') == 'tokens' and variant.head.get('dense', True)
    classifier = ('head.fc', 'head.aux_fc') if has_two else 'head.fc'
    common = dict(mean=tuple(value / 255 for value in family.mean), std=tuple(value / 255 for value in family.std),
                  classifier=classifier, license=family.license, origin_url=family.code, paper_name=family.title,
                  paper_ids=f'arXiv:{family.paper.rsplit("/", 1)[-1]}')
    cfgs = {f'mm_{variant.name}': dict(common, input_size=(3, variant.img_size, variant.img_size))}
    for tag, weights in variant.weights.items():
        if variant.config_name(tag).startswith('imagenet'):
            side = int(tag) if tag.isdigit() else variant.img_size
            name = f'mm_{variant.name}' + ('' if tag == str(variant.img_size) else f'.{tag}')
            cfgs[name] = dict(common, input_size=(3, side, side), url=weights.urls[0])
    return cfgs


register_notrace_module(Backbone)  # a single node in torch.fx, because backbones branch on sizes
default_cfgs = generate_default_cfgs({name: cfg for variant in VARIANTS.values()
                                      for name, cfg in published_cfgs(variant).items()})
for _name in list_models():
    register_model(entry_point(_name))
