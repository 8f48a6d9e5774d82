"""mmvit draw windows: frames match the operator's samples, and errors are clear."""

import pytest
import torch
from helpers import ROOT, raises
from PIL import Image
from verbs import module_of

from mmvit_backbones.errors import UsageError
from mmvit_backbones.ops import varied_size_window_sample

TOOL = vars(module_of('draw windows'))


def call(*arguments):
    TOOL['main'](TOOL['get_parser']().parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def image(tmp_path):
    Image.new('RGB', (90, 60), 'teal').save(tmp_path / 'image.png')
    return tmp_path / 'image.png'


def test_frames_are_where_the_operator_looks():
    """A map of its own coordinates shows the pixels that a window in its center samples."""
    window_size, stride, pad = 4, 8, (1, 2)
    scale, offset = 0.1 * torch.randn(2, 1, 3, 2, 9, 9).double()
    x = torch.arange(40.).double().expand(1, 3, 40, 40)
    sampled = varied_size_window_sample(torch.stack([x, x.mT], 2), scale, offset, window_size, pad)
    tokens = sampled[0, :, :, 16:20, 16:20].flatten(2) + 0.5  # of window (4, 4); a pixel's middle
    _, _, frames = TOOL['to_pixels'](scale, offset, pad, window_size, stride)
    torch.testing.assert_close(frames[:, :2, 4, 4], stride * tokens.mean(2))
    extent = (tokens.amax(2) - tokens.amin(2)) * window_size / (window_size - 1)
    torch.testing.assert_close(frames[:, 2:, 4, 4], stride * extent)


@pytest.mark.slow
def test_draws_a_network_and_a_config(image, tmp_path):
    for source in (['--network', 'swin_vsa_tiny'], ['--config', ROOT / 'configs/upernet_vitaev2_vsa_s.py']):
        call(image, *source, '--queries', '5,5', '80,50', '--out', tmp_path / 'windows.png')
        with Image.open(tmp_path / 'windows.png') as drawing:
            assert drawing.width > drawing.height > 300
        (tmp_path / 'windows.png').unlink()


@pytest.mark.parametrize('arguments, words', [
    (['--network', 'swin_vsa_tiny', '--queries', '90,5'], ['90,5', '90 x 60']),
    (['--network', 'rest_lite'], ['varied-size windows']),
    (['--network', 'nothing'], ['nothing', 'swin_vsa_tiny']),
], ids=['query', 'network', 'name'])
def test_mistakes_are_told(image, arguments, words):
    with raises(UsageError, *words):
        call(image, *arguments)
