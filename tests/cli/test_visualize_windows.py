"""`mmvit draw windows` draws the windows that the operator samples."""

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


def test_frames_equal_the_sampled_windows():
    """Each pixel of the map contains its coordinates, so the samples are the sampled positions."""
    window_size, stride, pad = 4, 8, (1, 2)
    scale, offset = 0.1 * torch.randn(2, 1, 3, 2, 9, 9).double()
    x = torch.arange(40.).double().expand(1, 3, 40, 40)
    sampled = varied_size_window_sample(torch.stack([x, x.mT], 2), scale, offset, window_size, pad)
    tokens = sampled[0, :, :, 16:20, 16:20].flatten(2) + 0.5  # of window (4, 4); + 0.5 is the center of a pixel
    _, _, frames = TOOL['to_pixels'](scale, offset, pad, window_size, stride)
    torch.testing.assert_close(frames[:, :2, 4, 4], stride * tokens.mean(2))
    extent = (tokens.amax(2) - tokens.amin(2)) * window_size / (window_size - 1)
    torch.testing.assert_close(frames[:, 2:, 4, 4], stride * extent)


@pytest.mark.slow
def test_windows_of_a_network_and_of_a_config_are_drawn(image, tmp_path):
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
def test_mistakes_are_reported(image, arguments, words):
    with raises(UsageError, *words):
        call(image, *arguments)
