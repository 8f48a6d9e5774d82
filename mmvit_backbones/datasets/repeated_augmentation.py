"""Repeated augmentation (Hoffer et al., CVPR 2020, arXiv 1901.09335), as used by DeiT and RegionViT."""
from collections.abc import Iterator, Sized

import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

BATCH = 256  # epochs are rounded down to a multiple of 256 samples, regardless of the batch size


@DATA_SAMPLERS.register_module()
class RepeatedAugmentationSampler(DefaultSampler):
    """Repeats each sampled image several times, and distributes the repetitions over the processes.

    An epoch has as many samples as the data set, rounded down to a multiple of 256 if there are at least 256. With
    three repetitions, these samples come from a third of the images. mmpretrain's ``RepeatAugSampler`` draws the same
    sequence, but does not round its length down.

    Args:
        dataset (Sized): The data set.
        num_repeats (int): Number of repetitions of an image. Defaults to 3.
        seed (int | None): Seed shared by all processes; the epoch is added to the seed. Defaults to None: a random
            seed.

    Raises:
        ValueError: If ``num_repeats`` is below 1.
    """

    def __init__(self, dataset: Sized, num_repeats: int = 3, seed: int | None = None) -> None:
        super().__init__(dataset, seed=seed)
        if num_repeats < 1:
            raise ValueError(f'num_repeats must be at least 1, got {num_repeats}')
        self.num_repeats = num_repeats
        self.num_samples = (len(dataset) // BATCH * BATCH or len(dataset)) // self.world_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).repeat_interleave(self.num_repeats)
        return iter(order[self.rank::self.world_size][:self.num_samples].tolist())
