"""Published results are reproduced on four images in ImageNet's layout, with random weights in the authors' layout."""
import json
import re
import shutil

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT, raises

from mmvit.analysis import reproduce, reproduction
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.published import PUBLISHED


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
    (tmp_path / 'real.json').write_text(json.dumps([[0]] * 50_000))
    return tmp_path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Returns an empty cache folder and makes all servers inaccessible."""
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path / 'cache'))
    for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    (tmp_path / 'cache').mkdir()
    monkeypatch.chdir(ROOT)
    return tmp_path / 'cache'


@pytest.mark.slow
def test_a_network_with_cached_weights_is_tested(imagenet, cache, tmp_path):
    golden = next(name for name, golden in NETWORKS.items() if golden['variant'] == 'vitae_tiny')
    torch.save(fill_state_dict(NETWORKS[golden]['state_dict'], torch.float32), cache / 'vitae_tiny.pth')
    found = reproduce('vitae_tiny', data_root=str(imagenet), work_dir=str(tmp_path / 'work'),
                      real=str(imagenet / 'real.json'),
                      cfg_options={'test_dataloader.batch_size': 4, 'test_dataloader.num_workers': 0,
                                   'test_dataloader.persistent_workers': False, 'test_dataloader.pin_memory': False})
    printed = str(found)
    assert 'official://vitae_tiny/224' in printed
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith(('top', 'real'))}
    assert [float(rows[key][1]) for key in ('top1', 'top5', 'real')] == [75.3, 92.7, 82.9]
    for published, measured, difference in (list(map(float, row[1:4])) for row in rows.values()):
        assert difference == pytest.approx(measured - published, abs=0.011) and 0 <= measured <= 100
    assert 'differs by more than' in printed


@pytest.mark.parametrize('name, missing', [
    ('reswin_tiny', r'ILSVRC2012|imagenet.*; checkpoint reswin_tiny cannot be downloaded'),
    ('imagenet_restv2_t_384', r'data set not found.*pan\.baidu\.com.*code rest.*--checkpoint'),
    ('upernet_restv2_t', r'data set not found.*checkpoint restv2_tiny_upernet'),
    ('mask_rcnn_regionvit_s', r'data set not found.*regionvit_small_mask_rcnn cannot be downloaded'),
    ('mask_rcnn_vitaev2_s', r"data set not found.*no download URL .*vitaev2_small with the tag 'mask_rcnn'"),
    ('imagenet_vitae_13m', 'no figures are published'), ('resnet_50', 'resnet_50'),
])
def test_missing_data_weights_and_figures_are_reported(name, missing, cache):
    with pytest.raises(UsageError, match=missing):
        reproduce(name)


def test_the_loss_and_differing_results_are_compared():
    lines = [line for line in PUBLISHED if line['config'] == 'imagenet_restv2_t_384']
    rows = [reproduction.reproduced(line, {'accuracy/top1': 83.7, 'accuracy/top5': 90., 'loss': 0.775})
            for line in lines if line['key'] in reproduction.MEASURED]
    assert {row.key: row.is_reproduced for row in rows} == dict(top1=True, top5=False, val_loss=True)
    assert any(re.match(r'val_loss +0.777 +0.775 +-0.002 +reproduced \(output of the eval', str(row)) for row in rows)
    assert any(str(row).startswith('top5') and 'differs by more than' in str(row) for row in rows)


def test_a_detector_that_finds_nothing():
    line = next(line for line in PUBLISHED if line['key'] == 'box')
    with raises(UsageError, 'box'):
        reproduction.reproduced(line, {})
