"""Labels outside the classes of the head."""
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from helpers import raises
from mmengine.registry import HOOKS
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from torch import nn

from mmvit_backbones.errors import TrainingError
from mmvit_backbones.training import LabelCheckHook


class Head(nn.Module):
    num_classes, ignore_index = 3, 255


def check(model: nn.Module, sample) -> None:
    batch = dict(data_samples=[DataSample(), sample])
    HOOKS.build(dict(type='LabelCheckHook')).before_train_iter(SimpleNamespace(model=model), 0, batch)


def wrong(label: int, path: str):
    return raises(TrainingError, path, f'label {label},', 'the classes 0 to 2')


@pytest.mark.parametrize('label, is_right', [(0, True), (2, True), (3, False), (-1, False)])
def test_labels_of_images(label, is_right):
    model = nn.ModuleDict(dict(head=Head()))
    model.head = model['head']
    sample = DataSample(metainfo=dict(img_path='a.jpg')).set_gt_label(label)
    with nullcontext() if is_right else wrong(label, 'a.jpg'):
        check(nn.DataParallel(model), sample)
    model['head'].num_classes = None  # unknown
    check(model, sample)
    check(nn.Module(), sample)


@pytest.mark.parametrize('label, is_right', [(0, True), (2, True), (3, False), (255, True), (256, False)])
@pytest.mark.parametrize('heads', [Head, lambda: nn.ModuleList([nn.Module(), Head()])])
def test_labels_of_pixels(label, is_right, heads):
    """A single wrong pixel is an error. In cascades, the last head makes the final prediction."""
    model = nn.Module()
    model.decode_head = heads()
    mask = torch.zeros(1, 4, 4, dtype=torch.int64)
    mask[0, 1, 2] = label
    sample = SegDataSample(gt_sem_seg=PixelData(data=mask), metainfo=dict(seg_map_path='a.png'))
    with nullcontext() if is_right else wrong(label, 'a.png'):
        check(model, sample)
    check(nn.Module(), sample)


def test_first_wrong_label_is_named():
    model = nn.Module()
    model.decode_head = Head()
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.tensor([[[0, 7, 2, 9, 8]]])))
    with wrong(7, 'None'):
        check(model, sample)


def test_batches_without_labels():
    for batch in (None, [], {}, dict(data_samples=None)):
        LabelCheckHook().before_train_iter(SimpleNamespace(model=nn.Module()), 0, batch)
