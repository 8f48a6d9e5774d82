"""Repeated augmentation: every process gets the indices of the authors' sampler."""
import pytest
import torch
from helpers import raises
from mmengine.dataset import sampler

from mmvit_backbones.datasets import RepeatedAugmentationSampler


def specified_indices(count: int, world_size: int, rank: int, epoch: int, repeats: int = 3) -> list[int]:
    """Returns the indices of the authors' sampler.

    Repeats the shuffled indices, extends them cyclically, takes every ``world_size``-th index from position ``rank``,
    and truncates the result.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch)).tolist()
    repeated = [index for index in order for _ in range(repeats)]
    total = world_size * -(-repeats * count // world_size)
    extended = [repeated[i % len(repeated)] for i in range(total)]
    return extended[rank::world_size][:256 * (count // 256) // world_size]


@pytest.mark.parametrize('count', [256, 1000, 1281])
@pytest.mark.parametrize('world_size', [1, 3, 8])
def test_repeated_augmentation(count, world_size, monkeypatch):
    from mmpretrain.datasets.samplers import repeat_aug
    for rank in range(world_size):
        for module in (sampler, repeat_aug):
            monkeypatch.setattr(module, 'get_dist_info', lambda: (rank, world_size))
        ours = RepeatedAugmentationSampler(range(count), seed=0)
        theirs = repeat_aug.RepeatAugSampler(range(count), seed=0)
        for epoch in (0, 1, 7):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            assert list(ours) == specified_indices(count, world_size, rank, epoch) and len(ours) == len(list(ours))
            # mmpretrain's sampler draws the same sequence, but does not stop at a multiple of 256.
            assert list(theirs)[:len(ours)] == list(ours) and len(theirs) == -(-count // world_size)


def test_number_of_repeats_is_positive():
    with raises(ValueError, 'num_repeats', 'at least 1', '0'):
        RepeatedAugmentationSampler(range(240), num_repeats=0)


def test_small_data_sets_are_not_rounded():
    sampler = RepeatedAugmentationSampler(range(240), seed=0)
    assert len(sampler) == len(list(sampler)) == 240 and len(set(sampler)) == 80
