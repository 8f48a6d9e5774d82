"""Loss that penalizes similar attention maps of successive blocks (Zhou et al., 2021, arXiv 2106.03714)."""
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class MapSimilarityLoss(nn.Module):
    """Computes the mean cosine similarity between the attention maps of successive blocks.

    The compared vectors contain the values of all heads for one pair of query and key.

    Args:
        num_pairs (int): Number of pairs of successive blocks, starting with the first block.
        loss_weight (float): Weight of the loss.

    Raises:
        ValueError: If ``num_pairs`` is less than 1.
    """

    def __init__(self, num_pairs: int = 12, loss_weight: float = 0.1) -> None:
        super().__init__()
        if num_pairs < 1:
            raise ValueError(f'num_pairs must be at least 1, got {num_pairs}')
        self.num_pairs = num_pairs
        self.loss_weight = loss_weight

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns the scalar loss of at least ``num_pairs + 1`` maps ``(B, heads, N, N)``, one per block.

        Raises:
            ValueError: If there are fewer maps.
        """
        if len(maps) <= self.num_pairs:
            raise ValueError(f'num_pairs must be less than the number of maps, got {self.num_pairs} and {len(maps)}')
        # Blocks that share a map return the same tensor: the similarity is 1, without a gradient.
        cosines = [maps[0].new_ones(()) if a is b else F.cosine_similarity(a, b, dim=1).mean()
                   for a, b in pairwise(maps[:self.num_pairs + 1])]
        return self.loss_weight * sum(cosines[1:], start=cosines[0]) / self.num_pairs
