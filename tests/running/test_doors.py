"""`mmvit train FILE` and `mmvit test FILE` run as the scripts of mmdet, mmseg and mmpretrain run the same file."""
import json
import pickle
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, raises
from PIL import Image
from runs import TINY, Run
from tiny_configs import TINY_CONFIGS

from mmvit.recipes import fine_tune, save
from mmvit.running import training_config
from mmvit_backbones.errors import CheckpointError, UsageError

pytestmark = pytest.mark.workflow

FOLDERS = dict(mmpretrain=('class_folder', 'flowers_mini'), mmdet=('coco_folder', 'coco_mini'),
               mmseg=('seg_folder', 'camvid_mini'))
STEPS = 8  # in two epochs
OPTIONS = ['--cfg-options', f'train_dataloader.dataset.indices={STEPS}', 'val_dataloader.dataset.indices=2',
           'test_dataloader.dataset.indices=4', 'default_hooks.logger.interval=1', 'log_processor.window_size=1']
# Narrow heads and few proposals save time.
NARROW = dict(
    mmpretrain=[],
    mmdet=['model.roi_head.bbox_head.fc_out_channels=16', 'model.roi_head.mask_head.conv_out_channels=32',
           'model.train_cfg.rpn_proposal.max_per_img=20', 'model.train_cfg.rcnn.sampler.num=16',
           'model.test_cfg.rpn.max_per_img=10'],
    mmseg=[])
# Detectors find boxes of any score, and mmseg draws every image instead of each 50th.
TESTED = dict(mmpretrain=[], mmdet=['model.test_cfg.rcnn.score_thr=0.', 'model.test_cfg.rcnn.max_per_img=5'],
              mmseg=['default_hooks.visualization.interval=1'])


def script(framework: str, name: str) -> Path:
    path = Path(find_spec(framework).origin).parent / f'.mim/tools/{name}.py'
    if not path.exists():
        pytest.skip(f'{framework} was installed without its scripts')
    return path


@pytest.fixture(scope='module', params=FOLDERS)
def recipe(request, tmp_path_factory) -> tuple[str, Path]:
    """Returns a framework, and the saved config of a fine-tuning of a tiny network with a seed.

    Two workers read the data of mmdet and mmseg, with the random numbers that MMEngine gives them.
    """
    key, folder = FOLDERS[request.param]
    workers = 0 if request.param == 'mmpretrain' else 2
    cfg = fine_tune(
        dict(type='ReSwin', **TINY_CONFIGS['ReSwin']), **{key: str(ROOT / 'data' / folder)}, size=64, epochs=2,
        batch_size=2, seed=3, pretrained=False, precision='float32', workers=workers, check_files=False,
        work_dir=str(tmp_path_factory.mktemp(request.param) / 'run'))
    return request.param, Path(save(cfg))


def losses_of(work_dir: Path) -> list[float]:
    log, = work_dir.glob('*/vis_data/scalars.json')
    return [entry['loss'] for entry in map(json.loads, log.read_text().splitlines()) if 'loss' in entry]


def run_both(name: str, framework: str, config: Path, folder: Path, *options: str,
             arguments: Callable[[Path], list] = lambda work_dir: []) -> None:
    """Runs `mmvit train` or `test` in the work dir ``ours``, and the framework's script in the work dir ``theirs``.

    Args:
        name (str): ``train`` or ``test``.
        framework (str): Framework of the script.
        config (Path): The config.
        folder (Path): Where the work dirs are.
        *options: Config options, KEY=VALUE.
        arguments (Callable): Takes the work dir and returns further arguments. Defaults to none.
    """
    runs = [Run(folder / f'{by}.txt', program, config, *arguments(folder / by), '--work-dir', folder / by,
                *OPTIONS, *NARROW[framework], *options)
            for by, program in (('ours', name), ('theirs', script(framework, name)))]
    assert [run.wait(300) for run in runs] == [0, 0], [run.text[-3000:] for run in runs]


def assert_same_losses(folder: Path) -> None:
    ours, theirs = losses_of(folder / 'ours'), losses_of(folder / 'theirs')
    assert len(ours) == STEPS and len(set(ours)) > STEPS / 2 and ours == theirs


@pytest.fixture(scope='module')
def trained(recipe, tmp_path_factory) -> tuple[str, Path, Path]:
    """Returns a framework, a saved recipe, and a folder with the two work dirs of its training."""
    framework, config = recipe
    folder = tmp_path_factory.mktemp('trained')
    run_both('train', framework, config, folder)
    return framework, config, folder


def test_a_saved_recipe_trains_as_by_the_frameworks_script(trained):
    assert_same_losses(trained[2])


def test_a_file_without_our_hooks_trains_as_by_the_frameworks_script(recipe, tmp_path):
    """Two workers read the data of mmpretrain, none those of the others."""
    framework, config = recipe
    text = config.read_text()
    assert 'ExactResumeHook' in text
    plain, workers = tmp_path / 'plain.py', 2 if framework == 'mmpretrain' else 0
    plain.write_text(f'{text}\ncustom_hooks = []\n')
    run_both('train', framework, plain, tmp_path, f'train_dataloader.num_workers={workers}',
             f'train_dataloader.persistent_workers={workers > 0}')
    assert_same_losses(tmp_path)


def test_a_test_gives_what_the_frameworks_script_gives(trained, tmp_path):
    """Also the saved predictions and the drawings."""
    framework, config, folder = trained
    out = 'predictions' if framework == 'mmseg' else 'predictions.pkl'  # mmseg saves a folder of label images
    run_both('test', framework, config, tmp_path, *TESTED[framework], arguments=lambda work_dir: [
        folder / 'ours/epoch_2.pth', '--out', work_dir / out, '--show-dir', work_dir / 'drawn'])
    metrics, predictions, drawn = results_of(tmp_path / 'ours', out)
    assert len(predictions) == 4 and all(values.size for values in predictions) and len(drawn) == 4
    theirs = results_of(tmp_path / 'theirs', out)
    assert (metrics, drawn) == (theirs[0], theirs[2]) and len(theirs[1]) == 4
    assert all(map(np.array_equal, predictions, theirs[1]))


def results_of(work_dir: Path, out: str) -> tuple[str, list[np.ndarray], dict[str, bytes]]:
    """Returns the metrics as JSON, in which NaN equals NaN, the predictions of each image, and the drawings by name."""
    file, = work_dir.glob('*/*.json')
    found = {key: value for key, value in json.loads(file.read_text()).items() if not key.endswith('time')}
    assert found
    drawn = {path.name: path.read_bytes() for path in (work_dir / 'drawn').rglob('*')
             if path.suffix in ('.jpg', '.png')}
    if out.endswith('.pkl'):
        samples = pickle.loads((work_dir / out).read_bytes())
        predictions = [(sample['pred_score'] if 'pred_score' in sample else sample['pred_instances']['bboxes']).numpy()
                       for sample in samples]
    else:
        predictions = [np.array(Image.open(path)) for path in sorted((work_dir / out).iterdir())]
    return json.dumps(found), predictions, drawn


def test_work_dirs_to_resume(tmp_path):
    """Without a checkpoint in its work dir, a run starts, from its own weights; another folder must have one."""
    for resume in (True, 'auto'):
        cfg = training_config(str(TINY), work_dir=str(tmp_path), resume=resume, cfg_options=dict(load_from='a.pth'))
        assert not cfg.resume and cfg.load_from == 'a.pth'
    with raises(UsageError, 'nothing to resume', tmp_path):
        training_config(str(TINY), resume=str(tmp_path))
    (tmp_path / 'last_checkpoint').write_text('run/epoch_1.pth')
    with raises(CheckpointError, tmp_path / 'last_checkpoint', 'run/epoch_1.pth'):
        training_config(str(TINY), resume=str(tmp_path))
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'epoch_1.pth')  # the work dir was moved
    assert training_config(str(TINY), resume=str(tmp_path)).load_from == str(tmp_path / 'epoch_1.pth')
