"""`mmvit data token-labels` writes the strongest classes of each position."""
from pathlib import Path

import pytest
import torch
from helpers import raises
from PIL import Image
from torch import nn

from mmvit_backbones.cli.data import token_labels
from mmvit_backbones.errors import UsageError


def test_strongest_classes():
    scores = torch.tensor([.3, -.1, .5, .2, .0, .4, .1]).view(1, 7, 1, 1) + torch.tensor([[0., 1.], [2., 3.]])
    labels, = token_labels.strongest(scores.half())
    assert labels.shape == (2, 5, 2, 2) and labels.dtype == torch.float32
    assert labels[1, :, 1, 0].tolist() == [2, 5, 0, 3, 6]
    torch.testing.assert_close(labels[0, :, 0, 1], torch.tensor([1.5, 1.4, 1.3, 1.2, 1.1]), atol=1e-3, rtol=0)
    assert next(token_labels.strongest(scores[:, :3])).shape == (2, 3, 2, 2)


def test_files_of_labels(tmp_path):
    """Images in deeper or upper folders have no labels."""
    for name in 'a/x.jpg', 'b/x.PNG', 'b/y.jpg', 'b/notes.txt', 'top.jpg', 'c/deep/z.jpg':
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'in' / name).touch()
    found = token_labels.plan(tmp_path / 'in', Path('out'))
    assert {str(path.relative_to(tmp_path / 'in')): str(file) for path, file in found.items()} == {
        'a/x.jpg': 'out/a/x.pt', 'b/x.PNG': 'out/b/x.pt', 'b/y.jpg': 'out/b/y.pt'}
    (tmp_path / 'in/b/x.jpg').touch()
    with raises(UsageError, 'in', 'suffix'):
        token_labels.plan(tmp_path / 'in', Path('out'))
    with raises(UsageError, 'CLASS/NAME', '.jpg'):
        token_labels.plan(tmp_path / 'in/a', Path('out'))


class ByQuarter(nn.Module):
    """Scores of six classes, which depend on the red channel of each quarter."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        red = nn.functional.avg_pool2d(images[:, :1].float(), images.shape[-1] // 2)
        return torch.cat([red * number for number in (1, 6, 2, 3, 5, 4)], 1)


def test_only_missing_files_are_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(token_labels, 'build', lambda name, checkpoint, device: ByQuarter())
    (tmp_path / 'in/a').mkdir(parents=True)
    for number in range(5):
        Image.new('RGB', (9, 7), (10 * number, 0, 0)).save(tmp_path / f'in/a/{number}.png')
    folders = str(tmp_path / 'in'), str(tmp_path / 'out')
    arguments = 'data token-labels', *folders, 'x', '--batch-size', '2', '--size', '8'
    assert run(*arguments).splitlines() == [
        '5 images, 0 already have token labels', '2 of 5 token labels written', '4 of 5 token labels written',
        '5 of 5 token labels written']
    for number in range(5):
        labels = torch.load(tmp_path / f'out/a/{number}.pt')
        assert labels[0, :, 1, 0].tolist() == [10 * number * factor for factor in (6, 5, 4, 3, 2)]
        assert number == 0 or labels[1, :, 1, 0].tolist() == [1, 4, 5, 3, 2]
        assert (tmp_path / f'out/a/{number}.pt').stat().st_size < 3000
    (tmp_path / 'out/a/1.pt').unlink()
    (tmp_path / 'out/a/3.pt').write_bytes(b'broken')
    assert run(*arguments).splitlines() == ['5 images, 3 already have token labels', '2 of 2 token labels written']
    assert run(*arguments).splitlines() == ['5 images, 5 already have token labels']
    assert len(list((tmp_path / 'out/a').iterdir())) == 5


@pytest.mark.parametrize('name, words', [
    ('timm:none', ['timm', 'none']), ('rest_lite', ['rest_lite', '--checkpoint']), ('unknown', ['unknown'])])
def test_models_that_cannot_be_used(name, words):
    with raises(UsageError, *words):
        token_labels.build(name, None, torch.device('cpu'))
