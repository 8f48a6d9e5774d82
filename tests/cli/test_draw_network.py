"""`mmvit draw network` draws the stages of a network with their blocks."""
import re

import pytest
from torch import nn

from mmvit_backbones.cli.draw import network


def test_stages_and_shapes_are_drawn(run, tmp_path):
    out = tmp_path / 'out.svg'
    run('draw network', 'reswin_tiny', str(out), '--size', '64')
    texts = re.findall(r'<text[^>]*>([^<]*)</text>', out.read_text())
    assert [text for text in texts if '×' in text and text[-1].isdigit()] == [
        '64×64×3', '16×16×96', '8×8×192', '4×4×384', '2×2×768']
    assert [text for text in texts if text.startswith('stage')] == [
        f'stage {number}, stride {stride}' for number, stride in ((1, 4), (2, 8), (3, 16), (4, 32))]
    assert 'reswin_tiny' in texts and any(text.startswith('6 × ') for text in texts)
    before = out.read_bytes()
    run('draw network', 'reswin_tiny', str(out), '--size', '64')
    assert out.read_bytes() == before  # the file has no date


class Block(nn.Sequential):
    pass


def test_equal_blocks_are_counted():
    """Layers such as norms are not listed; equal blocks in a row are one line."""
    def block(*layers):
        return Block(*layers, nn.LayerNorm(2), nn.Linear(2, 2))

    stage = nn.Module()
    stage.down, stage.norm = block(nn.Conv2d(2, 2, 1)), nn.LayerNorm(2)
    stage.blocks = nn.ModuleList([block(nn.ReLU()), block(nn.ReLU()), block(nn.ReLU(), nn.GELU(), nn.ReLU())])
    assert network.describe([stage, block(nn.Tanh())]) == [
        ('Block', 'Conv2d'), ('2 × Block', 'ReLU'), ('Block', 'ReLU, GELU'), ('Block', 'Tanh')]
    assert network.describe([nn.ModuleList([block(nn.Tanh())] * 3)]) == [('3 × Block', 'Tanh')]


def test_long_lists_of_layers_are_wrapped():
    names = [type(f'LongName{number}', (nn.Module, ), {})() for number in range(6)]
    (_, text), = network.describe([Block(*names)])
    assert [len(line.split()) for line in text.splitlines()] == [3, 3]


@pytest.mark.parametrize('name', ['out.gif2', 'out'])
def test_unknown_formats_are_errors(name, run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run('draw network', 'reswin_tiny', str(tmp_path / name))
    assert '.svg' in capsys.readouterr().err
