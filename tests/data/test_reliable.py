"""Batches from the middle of an epoch, reproducible samples, and unreadable ones."""
import random

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mmvit_backbones.data import ReliableDataset
from mmvit_backbones.errors import TrainingError


@DATASETS.register_module(force=True)
class Numbers:
    """Twelve samples: their index and random numbers. Even samples are wide, odd ones tall."""
    metainfo, pipeline = dict(classes=('a', )), []

    def __init__(self, unreadable=(), length=12):
        self.unreadable, self.length = unreadable, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.unreadable:
            raise OSError('no image')
        return index, random.random(), np.random.rand(), float(torch.rand(()))

    def get_data_info(self, index):
        return dict(img_path=f'{index}.jpg', width=1 + index % 2, height=2 - index % 2)


def loader(num_workers=0, **batch_sampler):
    return Runner.build_dataloader(dict(
        dataset=dict(type='ReliableDataset', dataset=dict(type='Numbers')), batch_size=2, num_workers=num_workers,
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


def test_unreadable_samples_are_replaced_up_to_a_number():
    dataset = ReliableDataset(Numbers(unreadable=(3, 5)), max_skipped=1)
    assert dataset[3][0] not in (3, 5) and dataset[4][0] == 4
    with pytest.raises(TrainingError, match=r'sample 5 \(5.jpg\) cannot be read: .*no image; with it, 2 are bad'):
        dataset[5]
    with pytest.raises(TrainingError, match='empty'):
        ReliableDataset(Numbers(length=0))


def test_attributes_are_those_of_the_wrapped_data_set():
    """Hooks of the frameworks change augmentations in the data set of a loader."""
    dataset = ReliableDataset(Numbers())
    dataset.pipeline = ['flip']
    assert dataset.dataset.pipeline == ['flip'] and dataset.metainfo == Numbers.metainfo
    assert not hasattr(dataset, 'datasets') and not hasattr(dataset, '__getitems__')
