"""Networks with the interface of timm's classifiers."""
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.registry import MODELS
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from ..backbones import Backbone
from ..backbones.truncation import prune_intermediate_layers
from ..necks import LayerNormPooling
from ..utils.image_sizes import height_and_width
from ..utils.openmmlab_models import init_weights
from ..zoo.settings import setting
from ..zoo.source import Weights
from ..zoo.variants import Variant

# ---- levels: the stages of a pyramid, or the blocks of a plain network


def infos_of(backbone: Backbone) -> list[dict]:
    """Returns timm's ``feature_info`` of every stage, or of every block of a plain network."""
    names = {module: name for name, module in backbone.named_modules(prefix='backbone')}
    if backbone.plain_blocks is not None:
        return [dict(num_chs=backbone.channels[0], reduction=backbone.strides[0], module=names[block], index=i)
                for i, (block, *_) in enumerate(backbone.stage_layers(0))]
    return [dict(num_chs=backbone.channels[i], reduction=stride, module=names[backbone.stage_output(i)], index=i)
            for i, stride in enumerate(backbone.strides)]


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


def to_format(x: Tensor, output_fmt: str) -> Tensor:
    """Returns a map ``(B, H, W, C)`` as ``'NCHW'``, ``'NHWC'`` or ``'NLC'``."""
    if output_fmt == 'NLC':
        return x.flatten(1, 2)
    return x.permute(0, 3, 1, 2).contiguous() if output_fmt == 'NCHW' else x


def take_indices(num_levels: int, indices: Any) -> list[int]:
    """Returns ascending indices of levels from timm's forms: None for all, an int for the last ones, or negative ones.

    Raises:
        AssertionError: If ``indices`` are out of range.
    """
    taken, _ = feature_take_indices(num_levels, indices)
    return sorted(set(taken))


class Pooling(nn.Module):
    """Pools a map ``(B, C, h, w)``, or tokens ``(B, 1 + N, C)`` with a class token, to ``(B, C)``.

    ``pool_type`` is ``'avg'`` for the mean over the map or the patch tokens, or ``'token'`` for the class token.
    """

    def __init__(self, pool_type: str, has_tokens: bool) -> None:
        super().__init__()
        self.pool_type = pool_type
        self.has_tokens = has_tokens

    def forward(self, x: Tensor) -> Tensor:
        if self.pool_type == 'token':
            return x[:, 0]
        return x[:, 1:].mean(1) if self.has_tokens else x.mean((2, 3))


class ClassifierHead(nn.Module):
    """Computes logits from the last map ``(B, C, h, w)`` or from tokens ``(B, 1 + N, C)``.

    Its modules can be replaced, as those of timm's ``ClassifierHead``. With ``dense``, half of the maximum of the patch
    tokens' logits, by ``aux_fc``, is added. With ``has_norm``, a norm of the model follows the pooling, unless it is an
    ``nn.Identity``.
    """

    def __init__(self, in_features: int, num_classes: int, drop_rate: float, pool_type: str, has_tokens: bool,
                 dense: bool, has_norm: bool) -> None:
        super().__init__()
        self.in_features = in_features
        self.has_tokens = has_tokens
        self.dense = dense
        self.has_norm = has_norm
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes, pool_type)

    def reset(self, num_classes: int, pool_type: str | None = None) -> None:
        """Replaces the last layer, which 0 removes, and the pooling, which ``''`` removes and None keeps."""
        if pool_type is not None:
            self.global_pool = Pooling(pool_type, self.has_tokens) if pool_type else nn.Identity()
        self.fc = nn.Linear(self.in_features, num_classes) if num_classes else nn.Identity()
        self.aux_fc = nn.Linear(self.in_features, num_classes) if self.dense and num_classes else None

    def forward(self, x: Tensor, pre_logits: bool = False, norm: nn.Module | None = None) -> Tensor:
        pooled = self.global_pool(x)
        if self.has_norm and not isinstance(self.global_pool, nn.Identity):
            if norm is None:
                raise ValueError('the head of this network needs a norm of the model: call model.forward_head(x)')
            pooled = norm(pooled)
        pooled = self.drop(pooled)
        if pre_logits:
            return pooled
        logits = self.fc(pooled)
        if self.aux_fc is None or isinstance(self.aux_fc, nn.Identity):
            return logits
        dense = self.aux_fc(self.drop(x[:, 1:])).amax(1)
        return logits + 0.5 * dense.view_as(logits)  # an error if they have another number of classes


class TimmClassifier(nn.Module):
    """A published classifier with timm's interface and mmpretrain's names of weights.

    Networks without a position embedding ignore ``img_size``.

    Args:
        variant (Variant): The published network.
        pretrained_cfg (dict): timm's config of the weights.
        num_classes (int): Number of classes; 0 omits the last layer.
        in_chans (int): Channels of the images.
        drop_rate (float): Rate of the dropout before the last layer.
        img_size (int | None): Side of the images for which positions are stored. Defaults to None: the paper's.
        weights (Weights | None): Those that will be loaded, for their setting.
        arguments: Arguments of the backbone.
    """

    def __init__(self, variant: Variant, pretrained_cfg: dict, num_classes: int = 1000, in_chans: int = 3,
                 drop_rate: float = 0., img_size: int | None = None, weights: Weights | None = None,
                 **arguments) -> None:
        super().__init__()
        own = setting(variant, weights=weights, img_size=img_size).backbone
        config = {**own, **variant.family.classifier, 'in_channels': in_chans, **arguments}
        self.backbone: Backbone = MODELS.build(config)
        init_weights(self.backbone)
        self.in_chans = in_chans
        self.feature_info = infos_of(self.backbone)  # of forward_intermediates
        self.has_tokens = config.get('out_type') == 'tokens'
        self.global_pool = 'token' if self.has_tokens else 'avg'
        neck = variant.neck_config(self.backbone.channels[-1]) or {}
        self.neck: LayerNormPooling | None = MODELS.build(neck) if neck.get('type') == 'LayerNormPooling' else None
        self.dense = self.has_tokens and variant.head.get('dense', True)
        self.drop_rate = drop_rate
        self.num_classes = num_classes
        self.head = self.make_head(num_classes)
        self.num_features = self.head_hidden_size = self.head.in_features
        stride = self.backbone.output_strides[-1]
        self.pretrained_cfg = self.default_cfg = pretrained_cfg | dict(
            num_classes=num_classes, first_conv=f'backbone.{self.backbone.image_convs[0]}', pool_size=None
            if self.has_tokens else tuple(-(-side // stride) for side in pretrained_cfg['input_size'][1:]))

    def make_head(self, num_classes: int) -> ClassifierHead:
        return ClassifierHead(self.backbone.channels[-1], num_classes, self.drop_rate, self.global_pool,
                              self.has_tokens, self.dense, has_norm=self.norm_of_vectors is not None)

    @property
    def norm_of_vectors(self) -> nn.LayerNorm | None:
        """Returns the norm after the pooling, if the network has one."""
        return self.neck.norm if self.neck is not None and self.neck.order == 'pool_first' else None

    def forward_features(self, images: Tensor) -> Tensor:
        """Returns the last map ``(B, C, h, w)`` of images ``(B, in_chans, H, W)``, or tokens ``(B, 1 + N, C)``."""
        return self.read_last(self.backbone(images))

    def read_last(self, features: tuple) -> Tensor:
        """Returns the last map, after the norm that the classifier has for maps, or the tokens."""
        if self.has_tokens:
            return features[-1].tokens
        if self.neck is not None and self.neck.order == 'norm_first':
            return self.neck.norm(features[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return features[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Returns logits ``(B, num_classes)`` for the last map or tokens; with ``pre_logits``, features ``(B, C)``.

        A head of one's own gets the features, or with ``global_pool=''``, or if it has a module ``global_pool``, the
        map or tokens.
        """
        norm = self.norm_of_vectors
        if isinstance(self.head, ClassifierHead):
            return self.head(x, pre_logits, norm)
        if hasattr(self.head, 'global_pool') and not pre_logits:
            return self.head(x)
        if self.global_pool:
            x = Pooling(self.global_pool, self.has_tokens)(x)
            x = x if norm is None else norm(x)
        return x if pre_logits else self.head(x)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def set_input_size(self, img_size: int | Sequence[int] | None = None, patch_size: None = None) -> None:
        """Changes nothing, because the networks read images of any size.

        Args:
            img_size (int | Sequence[int] | None): Side, or height and width, in pixels. Defaults to None.
            patch_size (None): Cannot be changed.

        Raises:
            ValueError: If ``img_size`` is invalid, or ``patch_size`` is given.
        """
        if patch_size is not None:
            raise ValueError(f'patch_size must be None, because the networks have a fixed stem, got {patch_size}')
        if img_size is not None:
            height_and_width(img_size, 'img_size')

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
            ValueError: If ``output_fmt`` is not supported.
            AssertionError: If ``indices`` are out of range.
        """
        formats = ('NCHW', 'NHWC') if self.backbone.plain_blocks is None else ('NCHW', 'NHWC', 'NLC')
        if output_fmt not in formats:
            raise ValueError(f'output_fmt must be one of {formats}, got {output_fmt!r}')
        taken = take_indices(len(self.feature_info), indices)
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
            AssertionError: If ``indices`` are out of range.
        """
        taken = take_indices(len(self.feature_info), indices)
        prune_intermediate_layers(self.backbone, taken[-1] + 1, prune_norm)
        self.feature_info = self.feature_info[:taken[-1] + 1]
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
