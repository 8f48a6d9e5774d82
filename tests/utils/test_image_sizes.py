"""One side means a square wherever a function takes the size of images."""
import pytest
import torch
from helpers import raises

from mmvit import benchmark
from mmvit.measuring import count_flops
from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.export import export_onnx
from mmvit_backbones.utils.image_sizes import height_and_width


def test_one_side_means_a_square():
    assert height_and_width(64) == height_and_width([64]) == height_and_width((64, 64)) == (64, 64)
    assert height_and_width([64, 96]) == height_and_width(torch.Size([64, 96])) == (64, 96)
    assert count_flops(['rest_lite'], 64, 'backbone') == count_flops(['rest_lite'], (64, 64), 'backbone')


@pytest.mark.parametrize('size', [0, -64, 64.5, '64', (), (64, 64, 64), (64, 0), True])
def test_other_sizes_are_refused_before_any_work(size, tmp_path):
    for call in (lambda: export_onnx(get_model('rest_lite', 'backbone'), tmp_path / 'a.onnx', size=size),
                 lambda: benchmark(['rest_lite'], 'rest_lite', size=size),
                 lambda: count_flops(['rest_lite'], size, 'backbone')):
        with raises(UsageError, 'size', size, 'positive integer', 'height and width'):
            call()
    assert not any(tmp_path.iterdir())
