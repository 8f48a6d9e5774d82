"""Classification head for the class token and all patches, for training with token labels.

All Tokens Matter: Token Labeling for Training Better Vision Transformers (Jiang et al., NeurIPS 2021,
arXiv 2104.10858), with the losses of Refiner (arXiv 2106.03714).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers.mix_tokens import BBox, TokenFeatures, mix_tokens
from ..ops.precision import at_least_float32


@MODELS.register_module()
class TokenLabelHead(BaseModule):
    """Classifies images by a linear layer for the class token and, if ``dense``, a second one for the patches.

    If ``dense``, the logit of an image for each class is the class token's logit plus half the highest patch logit.

    Paper: arXiv 2104.10858, section 3.2.

    The ``gt_score`` of a sample is either one target ``(num_classes, )`` for all tokens, or the result of
    ``PoolTokenLabels``: flattened targets ``(num_classes, 1 + patches)``, in which the class token comes first.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the tokens.
        dense (bool): Whether to also classify patches.
        loss (dict | None): Config of an mmpretrain loss for logits and soft targets, both ``(rows, num_classes)``. None
            uses ``CrossEntropyLoss`` with ``use_soft=True``.
        dense_weight (float): Weight of the loss of the patches.
        map_loss (dict | None): Config of a loss for the attention maps, such as ``MapSimilarityLoss``.
        init_cfg (dict | list[dict] | None): Initialization config of MMEngine. Defaults to a truncated normal
            (std 0.02).

    Raises:
        ValueError: If ``num_classes`` is less than 1.
    """

    def __init__(self, num_classes: int, in_channels: int, dense: bool = True, loss: dict | None = None,
                 dense_weight: float = 0.5, map_loss: dict | None = None,
                 init_cfg: dict | list[dict] | None = dict(  # noqa: B006  MMEngine copies it
                     type='TruncNormal', layer='Linear', std=0.02)) -> None:
        super().__init__(init_cfg)
        if num_classes < 1:
            raise ValueError(f'num_classes must be at least 1, got {num_classes}')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.dense_weight = dense_weight
        self.fc = nn.Linear(in_channels, num_classes)
        self.aux_fc = nn.Linear(in_channels, num_classes) if dense else None
        self.loss_module = MODELS.build(loss or dict(type='mmpretrain.CrossEntropyLoss', use_soft=True))
        self.map_loss = MODELS.build(map_loss) if map_loss else None

    def pre_logits(self, feats: tuple[TokenFeatures]) -> TokenFeatures:
        return feats[-1]

    def logits(self, feats: tuple[TokenFeatures]) -> tuple[Tensor, Tensor | None]:
        """Returns logits of the class token ``(B, num_classes)`` and of the patches ``(B, h * w, num_classes)``.

        Logits of patches that were mixed between images are swapped back.
        """
        features = self.pre_logits(feats)
        class_logits = self.fc(features.tokens[:, 0])
        if self.aux_fc is None:
            return class_logits, None
        patches = self.aux_fc(features.tokens[:, 1:]).unflatten(1, features.grid)
        return class_logits, mix_tokens(patches, features.bbox).flatten(1, 2)

    def forward(self, feats: tuple[TokenFeatures]) -> Tensor:
        """Returns logits ``(B, num_classes)``."""
        class_logits, patch_logits = self.logits(feats)
        return class_logits if patch_logits is None else class_logits + 0.5 * patch_logits.amax(1)

    def loss(self, feats: tuple[TokenFeatures], data_samples: Sequence) -> dict[str, Tensor]:
        """Returns the losses of class tokens, patches and maps; ``data_samples`` are mmpretrain's ``DataSample``.

        Raises:
            ValueError: If the length of ``gt_score`` is not a multiple of ``num_classes`` or, with ``dense``, fits
                neither one target per image nor one per token.
        """
        features = self.pre_logits(feats)
        class_logits, patch_logits = self.logits(feats)
        target = self.targets(data_samples, at_least_float32(class_logits))
        losses = self.losses(class_logits, patch_logits, target, features.grid, features.bbox)
        if self.map_loss is not None and features.maps:
            losses['loss_maps'] = self.map_loss(features.maps)
        return losses

    def losses(self, class_logits: Tensor, patch_logits: Tensor | None, target: Tensor, grid: tuple[int, int],
               bbox: BBox) -> dict[str, Tensor]:
        """Returns the losses, given the result of :meth:`targets` and the box of mixed patches on the grid.

        Paper: arXiv 2104.10858, section 3.2.
        Paper: arXiv 2104.10858, section 3.3.
        """
        class_target = target[:, :, 0]
        share = (bbox[2] - bbox[0]) * (bbox[3] - bbox[1]) / (grid[0] * grid[1])
        mixed = torch.lerp(class_target, class_target.flip(0), share) if share else class_target
        losses = dict(loss_class=self.loss_module(class_logits, mixed))
        if patch_logits is not None:
            num_patches = patch_logits.shape[1]
            if target.shape[2] not in (1, 1 + num_patches):
                raise ValueError(f'gt_score must hold token labels for {num_patches} patches, got '
                                 f'{target.shape[2] - 1}; set grid_size of PoolTokenLabels accordingly')
            patch_target = target[:, :, -num_patches:].expand(-1, -1, num_patches).transpose(1, 2)
            dense = self.loss_module(patch_logits.flatten(0, 1), patch_target.flatten(0, 1))
            losses['loss_dense'] = self.dense_weight * dense
        return losses

    def targets(self, data_samples: Sequence, dtype: torch.dtype) -> Tensor:
        """Returns a target per image, ``(B, num_classes, 1)``, or per token, ``(B, num_classes, 1 + patches)``.

        Targets of labels have the given dtype; those of ``gt_score`` keep theirs.
        """
        if 'gt_score' in data_samples[0]:
            target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            labels = torch.cat([sample.gt_label for sample in data_samples])
            target = F.one_hot(labels, self.num_classes).to(dtype)
        if target.shape[1] % self.num_classes:
            raise ValueError(f'the length of gt_score must be a multiple of num_classes={self.num_classes}, got '
                             f'{target.shape[1]}')
        return target.unflatten(1, (self.num_classes, -1))

    def predict(self, feats: tuple[TokenFeatures], data_samples: Sequence | None = None) -> list:
        """Returns an mmpretrain ``DataSample`` with ``pred_score`` and ``pred_label`` for each image."""
        from mmpretrain.structures import DataSample
        scores = self(feats).softmax(1)
        data_samples = [DataSample() for _ in scores] if data_samples is None else data_samples
        for sample, score in zip(data_samples, scores):
            sample.set_pred_score(score).set_pred_label(score.argmax(0, keepdim=True))
        return list(data_samples)
