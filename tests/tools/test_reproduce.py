"""tools/reproduce.py on four images in ImageNet's layout, with random weights in the authors' layout."""
import json
import shutil

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT


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


@pytest.mark.slow
def test_published_and_measured_are_printed(imagenet, tmp_path, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    golden = next(name for name, golden in NETWORKS.items() if golden['variant'] == 'vitae_tiny')
    torch.save(fill_state_dict(NETWORKS[golden]['state_dict'], torch.float32), tmp_path / 'authors.pth')
    printed = run('reproduce.py', 'vitae_tiny', '--checkpoint', str(tmp_path / 'authors.pth'), '--work-dir',
                  str(tmp_path / 'work'), '--real', str(imagenet / 'real.json'), '--cfg-options',
                  f'test_dataloader.dataset.data_root={imagenet}', 'test_dataloader.batch_size=4',
                  'test_dataloader.num_workers=0')
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.startswith(('top', 'real'))}
    assert [float(rows[key][1]) for key in ('top1', 'top5', 'real')] == [75.3, 92.7, 82.9]
    for published, measured, difference in (list(map(float, row[1:4])) for row in rows.values()):
        assert difference == pytest.approx(measured - published, abs=0.011) and 0 <= measured <= 100
    assert 'differs by more than' in printed


@pytest.mark.parametrize('arguments, missing', [
    (['reswin_tiny'], 'checkpoint is missing'), (['imagenet_vitae_13m'], 'nothing is published'),
    (['resnet_50'], 'neither a config nor a network'),
])
def test_what_is_missing_is_said(arguments, missing, run, capsys):
    with pytest.raises(SystemExit):
        run('reproduce.py', *arguments)
    assert missing in capsys.readouterr().err
