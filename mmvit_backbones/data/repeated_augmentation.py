"""Repeated augmentation (Hoffer et al., CVPR 2020, arXiv 1901.09335) of DeiT and RegionViT."""
from collections.abc import Iterator, Sized

import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS

BATCH = 256  # an epoch is rounded down to a multiple of it, for any batch size


@DATA_SAMPLERS.register_module()
class RepeatedAugmentationSampler(DefaultSampler):
    """Repeats each image, for different augmentations; with several processes, each gets other repetitions.

    An epoch has as many samples as the data set, rounded down to a multiple of 256 unless there are fewer; they come
    from a third of the images. mmpretrain's ``RepeatAugSampler`` takes slightly more of the same sequence.

    Args:
        dataset (Sized): The images.
        num_repeats (int): Number of repetitions of an image. Defaults to 3.
        seed (int | None): Seed for all processes, to which the epoch is added. Defaults to None: a random one.
    """

    def __init__(self, dataset: Sized, num_repeats: int = 3, seed: int | None = None) -> None:
        super().__init__(dataset, seed=seed)
        self.num_repeats = num_repeats
        self.num_samples = (len(dataset) // BATCH * BATCH or len(dataset)) // self.world_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).repeat_interleave(self.num_repeats)
        return iter(order[self.rank::self.world_size][:self.num_samples].tolist())
