"""Repeated augmentation (Hoffer et al., CVPR 2020, arXiv 1901.09335) of DeiT and RegionViT."""
from collections.abc import Iterator, Sized

import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

BATCH = 256  # an epoch is cut to a multiple of it, whatever the batch size really is


@DATA_SAMPLERS.register_module()
class RepeatedAugmentationSampler(DefaultSampler):
    """Repeats each image, to be augmented differently; with several processes, the repetitions go to different ones.

    An epoch has as many samples as the data set, rounded down to a multiple of 256 if there are as many, from a third
    of its images. mmpretrain's ``RepeatAugSampler`` keeps some more of the same sequence.

    Args:
        dataset (Sized): The images.
        num_repeats (int): Number of repetitions of an image.
        seed (int | None): Seed, the same for all processes, added to the epoch; None draws one.
    """

    def __init__(self, dataset: Sized, num_repeats: int = 3, seed: int | None = None) -> None:
        super().__init__(dataset, seed=seed)
        self.num_repeats = num_repeats
        self.num_samples = (len(dataset) // BATCH * BATCH or len(dataset)) // self.world_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).repeat_interleave(self.num_repeats)
        return iter(order[self.rank::self.world_size][:self.num_samples].tolist())
