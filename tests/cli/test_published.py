"""Published weights are tested on an image in ImageNet's layout, with random weights in the authors' layout."""
import shutil

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT, raises
from subcommands import call

from mmvit.configs.official import config_of_network
from mmvit_backbones.errors import CheckpointError


@pytest.mark.slow
def test_published_weights_are_tested_by_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    for folder in 'cache', 'val', 'meta':
        (tmp_path / folder).mkdir()
    name = 'ILSVRC2012_val_00000001.JPEG'
    shutil.copy(next(ROOT.glob('data/flowers_mini/val/*/*.jpg')), tmp_path / 'val' / name)
    (tmp_path / 'meta/val.txt').write_text(f'{name} 1')
    torch.save(fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32), 'cache/vitae_tiny.pth')
    call('test', 'vitae_tiny', 'official://vitae_tiny', '--data-root', tmp_path, '--work-dir', tmp_path / 'work',
         '--cfg-options', 'test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False',
         'test_dataloader.pin_memory=False')
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()
            if line.strip().startswith('accuracy/')}
    assert len(rows) == 2 and all(0 <= float(row[0]) <= 100 for row in rows.values())


def test_a_network_stands_for_the_config_of_its_weights():
    for network, weights, config in [
            ('reswin_tiny', 'official://reswin_tiny', 'imagenet_reswin_t'),
            ('reswin_tiny', 'a.pth', 'imagenet_reswin_t'),
            ('restv2_tiny', 'official://restv2_tiny/384', 'imagenet_restv2_t_384'),
            ('regionvit_small', 'official://regionvit_small/mask_rcnn', 'mask_rcnn_regionvit_s'),
            ('mask_rcnn_reswin_t', 'a.pth', None)]:
        assert config_of_network(network, weights) == config
    with raises(CheckpointError, 'vitaev2_small', 'mask_rcnn'):
        config_of_network('vitaev2_small', 'official://vitaev2_small/mask_rcnn')
