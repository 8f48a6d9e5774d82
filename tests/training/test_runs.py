"""A trained model is tested, predicts and is trained on by the name of its work dir, and by the frameworks' scripts."""
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import ROOT
from runs import Run
from small_recipes import small_recipe

from mmvit_backbones.utils.config import datasets_of

pytestmark = [pytest.mark.training, pytest.mark.usefixtures('frozen')]
IMAGE = next((ROOT / 'data/coco_mini/val').glob('*.jpg'))


def short_recipe(name: str, folder: Path) -> Path:
    """Writes a recipe for an epoch of two images."""
    config = small_recipe(name, folder)
    config.train_cfg, config.param_scheduler = dict(by_epoch=True, max_epochs=1), []
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    config.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    datasets_of(config, 'train')[0]['indices'] = 2
    config.dump(folder / f'{name}.py')
    return folder / f'{name}.py'


@pytest.mark.parametrize('name', ['imagenet_vitae_t', 'mask_rcnn_reswin_t', 'upernet_reswin_t'])
@pytest.mark.filterwarnings('ignore')
def test_a_run(name, tmp_path, run, own_loaders, monkeypatch):
    monkeypatch.chdir(ROOT)
    work_dir = tmp_path / 'run'
    run('train', str(short_recipe(name, tmp_path)), '--work-dir', str(work_dir))
    saved, checkpoint = work_dir / f'{name}.py', work_dir / 'epoch_1.pth'
    before = {path: path.read_bytes() for path in work_dir.iterdir() if path.is_file()}
    assert {saved, checkpoint, work_dir / 'last_checkpoint'} <= before.keys()
    printed = run('test', str(work_dir))
    assert f'checkpoint {checkpoint}, config {saved}' in printed
    run('test', str(saved), str(checkpoint), '--work-dir', str(work_dir), '--cfg-options',
        f'experiment_name=again_{name}')
    assert {path: path.read_bytes() for path in work_dir.iterdir() if path.is_file()} == before
    assert len(list(work_dir.glob('test/*/*.json'))) == 2
    run('predict', str(IMAGE), '--checkpoint', str(work_dir), '--out-dir', str(tmp_path / 'drawn'), '--device', 'cpu')
    assert (tmp_path / f'drawn/{IMAGE.stem}.png').exists()
    framework = name_of_framework(saved)
    script = Path(find_spec(framework).origin).parent / '.mim/tools/train.py'
    theirs = Run(tmp_path / 'log.txt', script, saved, '--work-dir', tmp_path / 'theirs')
    assert theirs.wait(300) == 0, theirs.text[-3000:]
    assert (tmp_path / 'theirs/epoch_1.pth').exists()


def name_of_framework(config: Path) -> str:
    scope, = (line.split("'")[1] for line in config.read_text().splitlines() if line.startswith('default_scope'))
    return scope
