"""A classifier for libraries other than mmpretrain, with mmpretrain's names of weights."""
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..backbones import Backbone
from ..zoo.build import has_img_size, init_weights
from ..zoo.variants import Variant


class ClassifierHead(nn.Module):
    """Computes logits from pooled features ``(B, C)`` or from the class token in tokens ``(B, 1 + N, C)``.

    With ``dense``, half of the maximum of the patch tokens' logits is added.
    """

    def __init__(self, channels: int, num_classes: int, drop_rate: float, has_tokens: bool, dense: bool) -> None:
        super().__init__()
        self.channels = channels
        self.has_tokens = has_tokens
        self.dense = dense
        self.drop = nn.Dropout(drop_rate)
        self.reset(num_classes)

    def reset(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.channels, num_classes) if num_classes else nn.Identity()
        self.aux_fc = nn.Linear(self.channels, num_classes) if self.dense and num_classes else None

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(x)
        pooled = x[:, 0] if self.has_tokens else x
        if pre_logits:
            return pooled
        logits = self.fc(pooled)
        return logits if self.aux_fc is None else logits + 0.5 * self.aux_fc(x[:, 1:]).amax(1)


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
        self.backbone = MODELS.build(config)
        init_weights(self.backbone)
        channels = self.backbone.channels[-1]
        self.has_tokens = config.get('out_type') == 'tokens'
        neck = variant.neck_config(channels) or {}
        self.neck = MODELS.build(neck) if neck.get('type') == 'LayerNormPooling' else None
        dense = self.has_tokens and variant.head.get('dense', True)
        self.head = ClassifierHead(channels, num_classes, drop_rate, self.has_tokens, dense)

    def forward_features(self, images: Tensor) -> Tensor:
        """Returns the last map ``(B, C, h, w)`` of images ``(B, in_channels, H, W)``, or tokens ``(B, 1 + N, C)``."""
        return self.read_last(self.backbone(images))

    def forward_features_and_stages(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Returns :meth:`forward_features`, and the pre-norm features of all stages ``(B, C, h, w)``."""
        features, pre_norm = self.backbone.forward_with_stages(images)
        return self.read_last(features), pre_norm

    def read_last(self, features: tuple) -> Tensor:
        return features[-1].tokens if self.has_tokens else features[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Returns logits ``(B, num_classes)`` for the last map or tokens; with ``pre_logits``, features ``(B, C)``."""
        if not self.has_tokens:
            x = self.neck((x, ))[0] if self.neck else x.mean((2, 3))
        return self.head(x, pre_logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))
