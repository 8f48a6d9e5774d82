"""Figures contain what stands in them, also long paths of users."""
import numpy as np
import pytest
import torch
from PIL import Image

from mmvit.drawing import attention
from mmvit.drawing.ranking import draw_ranking

PATH = f'{"a_folder_of_many_experiments/" * 5}weights.pth'


def draw_networks(out):
    rows = [{'network': f'{PATH}{index}', 'metric': 50. - index, 'lowest': 49. - index, 'highest': 51. - index,
             'ms per image, inference': 1.} for index in range(12)]
    draw_ranking(out, rows, 'box AP, %')


def draw_maps(out):
    maps = {'0: a': torch.rand(1, 32, 32)}
    attention.draw(torch.zeros(3, 32, 32), torch.eye(32), maps, str(out), f'rest_lite, weights {PATH}')


@pytest.mark.parametrize('draw', [draw_networks, draw_maps])
def test_long_paths_are_in_the_figure(draw, tmp_path):
    """Matplotlib warns, which fails here, of axes without space; a title that is cut off colors the border."""
    draw(tmp_path / 'figure.png')
    with Image.open(tmp_path / 'figure.png') as figure:
        pixels = np.array(figure.convert('RGB'))
    assert (pixels[:, [0, -1]] == 255).all()
