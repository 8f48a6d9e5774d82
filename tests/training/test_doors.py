"""`mmvit train FILE` and `mmvit test FILE` run as the scripts of mmdet, mmseg and mmpretrain run the same file."""
import json
import pickle
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, raises
from runs import TINY, Run
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.errors import UsageError
from mmvit_backbones.recipes import fine_tune, save
from mmvit_backbones.training import training_config

pytestmark = pytest.mark.training

FOLDERS = dict(mmpretrain=('class_folder', 'flowers_mini'), mmdet=('coco_folder', 'coco_mini'),
               mmseg=('seg_folder', 'camvid_mini'))
STEPS = 20  # in two epochs
OPTIONS = ['--cfg-options', f'train_dataloader.dataset.indices={STEPS}', 'val_dataloader.dataset.indices=2',
           'test_dataloader.dataset.indices=4', 'default_hooks.logger.interval=1', 'log_processor.window_size=1']
EXACT = "custom_hooks = [dict(type='ExactResumeHook')]\n"


def script(framework: str, name: str) -> Path:
    path = Path(find_spec(framework).origin).parent / f'.mim/tools/{name}.py'
    if not path.exists():
        pytest.skip(f'{framework} was installed without its scripts')
    return path


@pytest.fixture(scope='module', params=FOLDERS)
def recipe(request, tmp_path_factory) -> tuple[str, Path]:
    """Returns a framework, and the saved config of a fine-tuning of a tiny network with a seed."""
    key, folder = FOLDERS[request.param]
    cfg = fine_tune(
        dict(type='ReSwin', **TINY_CONFIGS['ReSwin']), **{key: str(ROOT / 'data' / folder)}, size=64, epochs=2,
        batch_size=2, seed=3, pretrained=False, precision='float32', workers=0, check_files=False,
        work_dir=str(tmp_path_factory.mktemp(request.param) / 'run'))
    return request.param, Path(save(cfg))


def losses_of(work_dir: Path) -> list[float]:
    log, = work_dir.glob('*/vis_data/scalars.json')
    return [entry['loss'] for entry in map(json.loads, log.read_text().splitlines()) if 'loss' in entry]


def train_by_both(framework: str, config: Path, folder: Path, *options: str) -> None:
    """Trains by `mmvit train` and by the framework's script, and compares the losses of all steps."""
    runs = [Run(folder / f'{name}.txt', program, config, '--work-dir', folder / name, *OPTIONS, *options)
            for name, program in (('ours', 'train'), ('theirs', script(framework, 'train')))]
    assert [run.wait(300) for run in runs] == [0, 0], [run.text[-3000:] for run in runs]
    ours, theirs = losses_of(folder / 'ours'), losses_of(folder / 'theirs')
    assert len(ours) == STEPS and len(set(ours)) > STEPS / 2 and ours == theirs


def test_a_saved_recipe_trains_as_by_the_frameworks_script(recipe, tmp_path):
    train_by_both(*recipe, tmp_path)


def test_a_file_without_our_hooks_trains_as_by_the_frameworks_script(recipe, tmp_path):
    """Two workers read the data, with the random numbers that MMEngine gives them."""
    framework, config = recipe
    text = config.read_text()
    assert EXACT in text
    plain = tmp_path / 'plain.py'
    plain.write_text(text.replace(EXACT, '').replace('    persistent_workers=False,\n', '', 1))
    train_by_both(framework, plain, tmp_path, 'train_dataloader.num_workers=2')


@pytest.mark.parametrize('recipe', ['mmpretrain'], indirect=True)
def test_a_test_gives_what_the_frameworks_script_gives(recipe, tmp_path):
    """With test-time augmentation, saved predictions and drawings."""
    framework, config = recipe
    trained = Run(tmp_path / 'train.txt', 'train', config, '--work-dir', tmp_path / 'run', *OPTIONS)
    assert trained.wait(300) == 0, trained.text[-3000:]
    runs = [Run(tmp_path / f'{name}.txt', program, config, tmp_path / 'run/epoch_2.pth', '--work-dir', tmp_path / name,
                '--tta', '--out', tmp_path / f'{name}.pkl', '--show-dir', tmp_path / f'{name}_drawn', *OPTIONS)
            for name, program in (('ours', 'test'), ('theirs', script(framework, 'test')))]
    assert [run.wait(300) for run in runs] == [0, 0], [run.text[-3000:] for run in runs]
    metrics, scores, drawn = ([of(tmp_path, name) for name in ('ours', 'theirs')] for of in (
        metrics_of, scores_of, drawings_of))
    assert metrics[0] == metrics[1] and 'accuracy/top1' in metrics[0]
    assert scores[0].shape == (4, 5) and np.array_equal(*scores)
    assert drawn[0] == drawn[1] and len(drawn[0]) == 4


def metrics_of(folder: Path, name: str) -> dict:
    file, = (folder / name).glob('*/*.json')
    return {key: value for key, value in json.loads(file.read_text()).items() if not key.endswith('time')}


def scores_of(folder: Path, name: str) -> np.ndarray:
    with open(folder / f'{name}.pkl', 'rb') as file:
        return np.stack([sample['pred_score'].numpy() for sample in pickle.load(file)])


def drawings_of(folder: Path, name: str) -> dict[str, bytes]:
    root = folder / f'{name}_drawn'
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*.png')}


def test_work_dirs_to_resume(tmp_path):
    """Without a checkpoint in its work dir, a run starts, as by mmdet's script; another folder must have one."""
    for resume in (True, 'auto'):
        cfg = training_config(str(TINY), work_dir=str(tmp_path), resume=resume)
        assert cfg.resume and cfg.load_from is None
    with raises(UsageError, 'nothing to resume', tmp_path):
        training_config(str(TINY), resume=str(tmp_path))
    (tmp_path / 'last_checkpoint').write_text('run/epoch_1.pth')
    assert training_config(str(TINY), resume=str(tmp_path)).load_from == 'run/epoch_1.pth'
