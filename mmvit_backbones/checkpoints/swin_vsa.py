"""Swin-VSA: there is nothing to convert."""
from collections.abc import Mapping

from torch import Tensor


def convert(checkpoint: Mapping) -> dict[str, Tensor]:
    """Refuses: no checkpoint of the authors exists, and a checkpoint of ours needs no conversion.

    Raises:
        KeyError: Always, as for any file that is not of the family.
    """
    raise KeyError('no checkpoint of Swin-VSA is published')
