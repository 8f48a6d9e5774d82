"""Batches from the middle of an epoch, and reproducible samples."""
import random

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import SequentialSampler

from mmvit_backbones.datasets import SeededDataset
from mmvit_backbones.datasets.resumable import ResumableBatchSampler, SeededIndex


class Numbers:
    """Twelve samples with their index and random numbers. Even samples are portrait images, odd samples landscape."""
    metainfo, pipeline = dict(classes=('a', )), []

    def __init__(self, length=12):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), float(torch.rand(()))

    def get_data_info(self, index):
        return dict(img_path=f'{index}.jpg', width=1 + index % 2, height=2 - index % 2)


def loader(num_workers=0, **batch_sampler):
    return Runner.build_dataloader(dict(
        dataset=SeededDataset(Numbers()), batch_size=2, num_workers=num_workers,
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_sampler=dict(type='ResumableBatchSampler', **batch_sampler)), seed=7)


def read(loader, epoch=0, start=0):
    loader.batch_sampler.sampler.set_epoch(epoch)
    loader.batch_sampler.start = start
    return list(map(str, loader))


@pytest.mark.parametrize('num_workers, batch_sampler', [(2, {}), (0, dict(
    batch_sampler=dict(type='mmdet.AspectRatioBatchSampler')))])
def test_any_batch_is_reproducible(num_workers, batch_sampler):
    if batch_sampler:
        pytest.importorskip('mmdet.datasets')
    expected = read(loader(**batch_sampler), epoch=1)
    assert len(expected) == 6 and len(set(expected)) == 6
    assert read(loader(num_workers, **batch_sampler), epoch=1, start=4) == expected[4:]
    assert read(loader(**batch_sampler), epoch=2) != expected


def test_attributes_are_those_of_the_wrapped_data_set():
    """Hooks of the frameworks change the pipeline of a data loader's data set."""
    dataset = SeededDataset(Numbers())
    dataset.pipeline = ['flip']
    assert dataset.dataset.pipeline == dataset.pipeline == ['flip'] and dataset.metainfo == Numbers.metainfo
    assert not hasattr(dataset, 'datasets') and not hasattr(dataset, '__getitems__')


@pytest.mark.parametrize('drop_last, number', [(False, 3), (True, 2)])
def test_number_of_batches(drop_last, number):
    batches = ResumableBatchSampler(SequentialSampler(range(12)), 5, drop_last=drop_last)
    assert len(batches) == len(list(batches)) == number
    batches.start = 1
    assert len(batches) == number  # of a full epoch
    assert next(iter(batches)) == [SeededIndex(index, (0, 0, 0, 1, place)) for place, index in enumerate(range(5, 10))]


