"""`mmvit predict` by names of configs and published weights, and `mmvit test` with exported files."""
from pathlib import Path

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT
from PIL import Image
from runs import TINY
from subcommands import call
from tiny_exports import DETAILS_OF_COLORS, mean_color_file


@pytest.mark.slow
def test_names_of_configs_and_published_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    torch.save(fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32), 'vitae_tiny.pth')
    call('predict', ROOT / 'data/coco_mini/val/000000000285.jpg', '--config', 'imagenet_vitae_t', '--pretrained')
    assert '000000000285.png' in capsys.readouterr().out and Path('predictions/000000000285.png').exists()


@pytest.mark.usefixtures('frameworks')
def test_an_exported_file_is_tested(tmp_path, monkeypatch, capsys):
    """It tells the color of three of four images."""
    pytest.importorskip('onnx')
    monkeypatch.chdir(ROOT)
    classes = ['a', 'b', 'c']
    for number, color in enumerate(['red', 'lime', 'blue', 'red']):
        folder = tmp_path / 'val' / classes[min(number, 2)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (60, 60), color).save(folder / f'{number}.png')
    file = mean_color_file(tmp_path, dict(DETAILS_OF_COLORS, classes=classes))
    call('test', TINY, file, '--work-dir', tmp_path / 'test', '--cfg-options',
         f'test_dataloader.dataset.data_root={tmp_path}', 'test_dataloader.pin_memory=False')
    assert ['accuracy/top1', '75'] in [line.split() for line in capsys.readouterr().out.splitlines()]
