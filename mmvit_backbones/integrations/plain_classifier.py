"""A classifier for libraries other than mmpretrain, with mmpretrain's names of weights."""
from collections.abc import Mapping

import torch.fx
from mmengine.registry import MODELS
from torch import Tensor, nn

from .. import backbones
from ..backbones import Backbone
from ..necks import LayerNormPooling
from ..utils.openmmlab_models import init_weights
from ..zoo.building import has_img_size
from ..zoo.variants import Variant


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

    def extra_repr(self) -> str:
        return repr(self.pool_type)


def build_backbone(config: Mapping) -> Backbone:
    """Builds a network of this package; ``MODELS.build`` would also import a package that ``_scope_`` names."""
    return getattr(backbones, config['type'])(**{key: value for key, value in config.items() if key != 'type'})


def check_arguments(arguments: Mapping) -> None:
    """Raises ValueError if arguments name what MMEngine builds, which in a hub's config could be any function."""
    for name in {'type', 'init_cfg', '_scope_'} & arguments.keys():
        raise ValueError(f'{name} cannot be an argument of a network, got {arguments[name]!r}')


def add_dense_logits(logits: Tensor, dense: Tensor) -> Tensor:
    if logits.shape != dense.shape:
        raise RuntimeError('head.fc and head.aux_fc must have the same number of classes, got '
                           f'{logits.shape[-1]} and {dense.shape[-1]}; replace both')
    return logits + 0.5 * dense


torch.fx.wrap('add_dense_logits')  # a node of its own in graphs, because it reads shapes


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
        return add_dense_logits(logits, self.aux_fc(self.drop(x[:, 1:])).amax(1))


class Classifier(nn.Module):
    """A published classifier. Its backbone is built with ``arguments``; ``num_classes=0`` omits the last layer.

    Networks without a position embedding ignore ``img_size``.
    """

    backbone: Backbone

    def __init__(self, variant: Variant, num_classes: int = 1000, in_channels: int = 3, drop_rate: float = 0.,
                 img_size: int | None = None, **arguments) -> None:
        super().__init__()
        if img_size is not None and has_img_size(variant):
            arguments['img_size'] = img_size
        config = {**variant.backbone, **variant.family.classifier, 'in_channels': in_channels, **arguments}
        self.backbone = build_backbone(config)
        init_weights(self.backbone)
        channels = self.backbone.channels[-1]
        self.has_tokens = config.get('out_type') == 'tokens'
        self.global_pool = 'token' if self.has_tokens else 'avg'
        neck = variant.neck_config(channels) or {}
        self.neck: LayerNormPooling | None = MODELS.build(neck) if neck.get('type') == 'LayerNormPooling' else None
        self.dense = self.has_tokens and variant.head.get('dense', True)
        self.drop_rate = drop_rate
        self.head = self.make_head(num_classes)

    def make_head(self, num_classes: int) -> ClassifierHead:
        return ClassifierHead(self.backbone.channels[-1], num_classes, self.drop_rate, self.global_pool,
                              self.has_tokens, self.dense, has_norm=self.norm_of_vectors is not None)

    @property
    def norm_of_vectors(self) -> nn.LayerNorm | None:
        """Returns the norm after the pooling, if the network has one."""
        return self.neck.norm if self.neck is not None and self.neck.order == 'pool_first' else None

    def forward_features(self, images: Tensor) -> Tensor:
        """Returns the last map ``(B, C, h, w)`` of images ``(B, in_channels, H, W)``, or tokens ``(B, 1 + N, C)``."""
        return self.read_last(self.backbone(images))

    def forward_features_and_stages(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Returns :meth:`forward_features`, and the pre-norm features of all stages ``(B, C, h, w)``."""
        features, pre_norm = self.backbone.forward_with_stages(images)
        return self.read_last(features), pre_norm

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
