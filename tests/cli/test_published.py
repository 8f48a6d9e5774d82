"""Published weights are tested on four images in ImageNet's layout, with random weights in the authors' layout."""
import shutil

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT, raises
from subcommands import call

from mmvit.configs.official import config_of_network
from mmvit_backbones.errors import CheckpointError


@pytest.fixture
def imagenet(tmp_path):
    for folder in ('val', 'meta'):
        (tmp_path / folder).mkdir()
    images = sorted(ROOT.glob('data/flowers_mini/val/*/*.jpg'))[:4]
    lines = []
    for number, image in enumerate(images, start=1):
        name = f'ILSVRC2012_val_{number:08d}.JPEG'
        shutil.copy(image, tmp_path / 'val' / name)
        lines.append(f'{name} {number}')
    (tmp_path / 'meta/val.txt').write_text('\n'.join(lines))
    return tmp_path


@pytest.mark.slow
def test_published_weights_are_tested_by_name(imagenet, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'cache').mkdir()
    golden = next(name for name, golden in NETWORKS.items() if golden['variant'] == 'vitae_tiny')
    torch.save(fill_state_dict(NETWORKS[golden]['state_dict'], torch.float32), tmp_path / 'cache/vitae_tiny.pth')
    call('test', 'vitae_tiny', 'official://vitae_tiny', '--data-root', imagenet, '--work-dir', tmp_path / 'work',
         '--cfg-options', 'test_dataloader.batch_size=4', 'test_dataloader.num_workers=0',
         'test_dataloader.persistent_workers=False', 'test_dataloader.pin_memory=False')
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
