"""A trained model is tested and predicts by the name of its work dir; tests that begin together keep their results."""
import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from runs import TINY, Run
from small_recipes import small_recipe

from mmvit.utils.config_parts import datasets_of

pytestmark = [pytest.mark.workflow, pytest.mark.usefixtures('frameworks')]
IMAGE = next((ROOT / 'data/coco_mini/val').glob('*.jpg'))


def short_recipe(name: str, folder: Path, suffix: str) -> Path:
    """Writes a recipe for an epoch of two images."""
    config = small_recipe(name)
    config.train_cfg, config.param_scheduler = dict(by_epoch=True, max_epochs=1), []
    config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1)
    config.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    datasets_of(config, 'train')[0]['indices'] = 2
    config.dump(folder / f'{name}{suffix}')
    return folder / f'{name}{suffix}'


def results_of(work_dir: Path) -> list[dict]:
    """Returns the metrics of each test in a work dir, beside which are its log and what its visualizer writes."""
    files = sorted(work_dir.glob('test/*/*.json'))
    assert all(file.with_suffix('.log').exists() and (file.parent / 'vis_data/config.py').exists() for file in files)
    return [{name: value for name, value in json.loads(file.read_text()).items() if not name.endswith('time')}
            for file in files]


@pytest.mark.parametrize('name, suffix, written', [
    ('imagenet_vitae_t', '.json', 'results.csv'), ('mask_rcnn_reswin_t', '.py', 'results.json'),
    ('upernet_reswin_t', '.py', f'labels/{IMAGE.stem}.png')])
@pytest.mark.filterwarnings('ignore')
def test_a_run(name, suffix, written, tmp_path, run, own_loaders, monkeypatch):
    monkeypatch.chdir(ROOT)
    work_dir = tmp_path / 'run'
    run('train', str(short_recipe(name, tmp_path, suffix)), '--work-dir', str(work_dir))
    saved, checkpoint = work_dir / f'{name}{suffix}', work_dir / 'epoch_1.pth'
    before = {path: path.read_bytes() for path in work_dir.iterdir() if path.is_file()}
    assert {saved, checkpoint, work_dir / 'last_checkpoint'} <= before.keys()
    assert str(checkpoint) in run('test', str(work_dir))
    assert run('test', str(work_dir), '--check').endswith('ok\n')
    run('test', str(work_dir))
    assert {path: path.read_bytes() for path in work_dir.iterdir() if path.is_file()} == before
    first, second = results_of(work_dir)
    assert first == second and first
    run('predict', str(IMAGE), '--checkpoint', str(work_dir), '--out-dir', str(tmp_path / 'drawn'), '--device', 'cpu',
        '--json')
    assert (tmp_path / f'drawn/{IMAGE.stem}.png').exists() and (tmp_path / 'drawn' / written).exists()


def test_tests_that_begin_together_keep_their_results(tmp_path):
    config = Config.fromfile(TINY)
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'best_1.pth')
    config.dump(tmp_path / 'config.py')
    shutil.copy2(tmp_path / 'best_1.pth', tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    tests = [Run(tmp_path / f'{number}.txt', 'test', tmp_path) for number in range(3)]
    assert [test.wait() for test in tests] == [0] * 3, tests[0].text
    results = results_of(tmp_path)
    assert len(results) == 3 and all('accuracy/top1' in result and result == results[0] for result in results)
