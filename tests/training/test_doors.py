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
# Narrow heads and few proposals save time.
NARROW = dict(
    mmpretrain=[], mmdet=['model.roi_head.bbox_head.fc_out_channels=16', 'model.train_cfg.rpn_proposal.max_per_img=20',
                          'model.train_cfg.rcnn.sampler.num=16', 'model.test_cfg.rpn.max_per_img=10'],
    mmseg=['model.decode_head.channels=64', 'model.auxiliary_head.channels=64'])  # two for each group of the norms
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
    runs = [Run(folder / f'{name}.txt', program, config, '--work-dir', folder / name, *OPTIONS, *NARROW[framework],
                *options)
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
    """With saved predictions and drawings, and with test-time augmentation."""
    framework, config = recipe
    trained = Run(tmp_path / 'train.txt', 'train', config, '--work-dir', tmp_path / 'run', *OPTIONS)
    assert trained.wait(300) == 0, trained.text[-3000:]
    runs = []
    for option in 'show', 'tta':
        for by, program in (('ours', 'test'), ('theirs', script(framework, 'test'))):
            folder = tmp_path / f'{by}_{option}'
            more = ['--tta'] if option == 'tta' else ['--show-dir', folder / 'drawn']
            runs.append(Run(tmp_path / f'{folder.name}.txt', program, config, tmp_path / 'run/epoch_2.pth',
                            '--work-dir', folder, '--out', tmp_path / f'{folder.name}.pkl', *more, *OPTIONS))
    assert [run.wait(300) for run in runs] == [0] * 4, [run.text[-3000:] for run in runs]
    for option in 'show', 'tta':
        ours, theirs = tmp_path / f'ours_{option}', tmp_path / f'theirs_{option}'
        assert metrics_of(ours) == metrics_of(theirs) and 'accuracy/top1' in metrics_of(ours)
        assert scores_of(ours).shape == (4, 5) and np.array_equal(scores_of(ours), scores_of(theirs))
    assert not np.array_equal(scores_of(tmp_path / 'ours_show'), scores_of(tmp_path / 'ours_tta'))
    drawn = drawings_of(tmp_path / 'ours_show')
    assert len(drawn) == 4 and drawn == drawings_of(tmp_path / 'theirs_show')


def metrics_of(work_dir: Path) -> dict:
    file, = work_dir.glob('*/*.json')
    return {key: value for key, value in json.loads(file.read_text()).items() if not key.endswith('time')}


def scores_of(work_dir: Path) -> np.ndarray:
    with open(f'{work_dir}.pkl', 'rb') as file:
        return np.stack([sample['pred_score'].numpy() for sample in pickle.load(file)])


def drawings_of(work_dir: Path) -> dict[str, bytes]:
    root = work_dir / 'drawn'
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
