"""Batches from the middle of an epoch, reproducible samples and unreadable samples."""
import random

import numpy as np
import pytest
import torch
from helpers import raises
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, SequentialSampler

from mmvit_backbones.data import ReliableDataset
from mmvit_backbones.data.reliable import ResumableBatchSampler, SeededIndex
from mmvit_backbones.errors import TrainingError, UnreadableSampleError


@DATASETS.register_module(force=True)
class Numbers:
    """Twelve samples with their index and random numbers. Even samples are portrait images, odd samples landscape."""
    metainfo, pipeline = dict(classes=('a', )), []

    def __init__(self, unreadable=(), length=12, transform=None):
        self.unreadable, self.length, self.transform, self.reads = unreadable, length, transform, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.reads.append(index)
        if len(self.reads) > 100:
            pytest.fail('the data set is read more than 100 times')
        if index in self.unreadable:
            raise OSError('no image')
        if self.transform:
            self.transform(index)
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
    with raises(TrainingError, '5.jpg', 'no image', 'max_skipped=1'):
        dataset[5]
    with raises(TrainingError, 'Numbers', 'empty'):
        ReliableDataset(Numbers(length=0))


def test_unreadable_samples_are_read_only_once():
    numbers = Numbers(unreadable=range(11))
    dataset = ReliableDataset(numbers, max_skipped=11)
    assert [dataset[index][0] for index in (0, 0, 5, 7)] == [11] * 4
    assert all(numbers.reads.count(index) <= 1 for index in range(11))


def test_replacements_depend_on_the_seed_alone():
    """Samples already known to be unreadable have no influence, because a resumed run does not know them."""
    seeded = SeededIndex(3, (7, 0, 1))
    first, second = (ReliableDataset(Numbers(unreadable=(3, 5)), max_skipped=2) for _ in range(2))
    second[3], second[5]
    assert first[seeded] == first[seeded] == second[seeded]


def test_data_set_without_a_readable_sample_is_an_error():
    dataset = ReliableDataset(Numbers(unreadable=range(12)), max_skipped=100)
    for _ in range(2):
        with raises(TrainingError, 'Numbers', '12'):
            dataset[0]


class Fails:
    """A transform that fails for certain samples."""

    def __init__(self, indices):
        self.indices = indices

    def __call__(self, index):
        if index in self.indices:
            return index + None
        return index


class LoadText(Fails):
    """A reader that fails for certain samples with an error other than OSError."""


@pytest.mark.parametrize('max_skipped', [0, 100])
@pytest.mark.parametrize('num_workers', [0, 1])
def test_a_bug_in_a_transform_raises_its_own_exception(max_skipped, num_workers):
    dataset = ReliableDataset(Numbers(transform=Fails(range(12))), max_skipped=max_skipped)
    with pytest.raises(TypeError, match='NoneType'):
        next(iter(DataLoader(dataset, num_workers=num_workers)))
    assert not dataset.is_bad.any()


def test_errors_of_a_single_sample_or_of_a_reader_are_not_bugs():
    assert ReliableDataset(Numbers(transform=Fails([3])), max_skipped=1)[3][0] != 3
    assert ReliableDataset(Numbers(transform=LoadText(range(8))), max_skipped=8)[3][0] >= 8
    with raises(UnreadableSampleError, '3.jpg'):
        ReliableDataset(Numbers(transform=Fails([3])))[3]


def test_attributes_are_those_of_the_wrapped_data_set():
    """Hooks of the frameworks change the pipeline of a data loader's data set."""
    dataset = ReliableDataset(Numbers())
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


@pytest.mark.parametrize('length, error', [(2, TrainingError), (3, TypeError)])
def test_a_bug_is_recognized_by_two_other_samples(length, error):
    with pytest.raises(error):
        ReliableDataset(Numbers(length=length, transform=Fails(range(length))), max_skipped=9)[0]


def test_the_end_of_a_file_is_a_reading_error():
    class Ends(Fails):

        def __call__(self, index):
            if index in self.indices:
                raise EOFError

    assert ReliableDataset(Numbers(transform=Ends(range(11))), max_skipped=11)[3][0] == 11


def test_messages_about_unreadable_samples(monkeypatch):
    numbers = Numbers(unreadable=(3, ))
    for info, words in (dict(img_path='a', seg_map_path='b', other_path=None), 'a, b'), (dict(label=3), 'no file'):
        monkeypatch.setattr(Numbers, 'get_data_info', lambda self, index, info=info: info)
        with raises(UnreadableSampleError, f'sample 3 ({words}) cannot be read: OSError: no image. Use a larger'):
            ReliableDataset(numbers)[3]
    monkeypatch.delattr(Numbers, 'get_data_info')
    with raises(UnreadableSampleError, 'sample 3 (unknown file)'):
        ReliableDataset(numbers)[3]
    numbers.data_root = '/in'
    with raises(TrainingError, "Numbers(data_root='/in')", 'all 12'):
        numbers.unreadable = range(12)
        ReliableDataset(numbers, max_skipped=12)[3]
