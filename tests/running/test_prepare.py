"""`recipe/` in a work dir is a record of what was trained: read by all that follows, changed by nothing."""
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from fine_tunings import FOLDERS, TASKS, recipe
from helpers import ROOT, raises
from mmengine.config import Config
from PIL import Image
from subcommands import call

from mmvit import Predictor, running
from mmvit.recipes import fine_tune, save
from mmvit.running import test as run_test
from mmvit.running import training_config
from mmvit.running.run_folder import RunFolder
from mmvit.running.work_dir import TAKEN, holds_training, lock_file
from mmvit_backbones import get_model
from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import UsageError

NETWORK = ['rest_lite', '--no-pretrained']
OPTIONS = ['--class-folder', 'data', '--val-fraction', '0.3', '--size', '32', '--batch-size', '4', '--epochs', '1']
WORK_DIR = Path('work_dirs/rest_lite_classifier')


def add_images(folder: Path, first: int, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in range(first, first + number):
        pixels = np.random.default_rng(name).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{name}.png')


@pytest.fixture(scope='module')
def trained(tmp_path_factory, frameworks) -> Path:
    """Returns a folder with data and the work dir of a training."""
    place = tmp_path_factory.mktemp('trained')
    before = Path.cwd()
    os.chdir(place)
    try:
        for name in 'ab':
            add_images(Path('data', name), 0, 6)
        call('train', *NETWORK, *OPTIONS, '--check')  # takes the same work dir
        call('train', *NETWORK, *OPTIONS)
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def place(trained, tmp_path, monkeypatch) -> Path:
    """Returns a copy of the folder of the training, in which the test runs."""
    shutil.copytree(trained, tmp_path / 'place', symlinks=True)
    monkeypatch.chdir(tmp_path / 'place')
    return tmp_path / 'place'


def test_a_check_tells_how_long_the_training_takes(place, capsys):
    """From the steps of the training itself: two of four images, then a validation."""
    call('train', *NETWORK, *OPTIONS, '--work-dir', 'new', '--check')
    told, = (line for line in capsys.readouterr().out.splitlines() if line.startswith('time '))
    assert ' 2 steps' in told and ' 1 validation' in told


def test_all_options_are_in_the_recipe(place):
    with suppress(UsageError):  # TensorBoard may not be installed
        call('train', *NETWORK, *OPTIONS, '--tensorboard', '--auto-scale-lr', '--work-dir', 'new', '--check')
    cfg = Config.fromfile(next(place.glob('new/recipe/*.py')))
    assert cfg.visualizer.vis_backends[-1].type == 'TensorboardVisBackend' and cfg.auto_scale_lr.enable


def record() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (WORK_DIR / 'recipe').iterdir()}


pytestmark = [pytest.mark.workflow, pytest.mark.usefixtures('own_loaders')]


def test_nothing_changes_the_record_of_a_training(place, capsys):
    before = record()
    add_images(place / 'data/c', 0, 3)
    add_images(place / 'data/a', 6, 3)
    with raises(UsageError, WORK_DIR, '--resume', 'another work_dir (--work-dir)'):
        call('train', *NETWORK, *OPTIONS, '--work-dir', WORK_DIR)
    with raises(UsageError, WORK_DIR):
        fine_tune('rest_lite', class_folder='data', val_fraction=0.3, pretrained=False, work_dir=str(WORK_DIR))
    with raises(UsageError, WORK_DIR):
        call('train', next(WORK_DIR.glob('recipe/*.py')))
    for again in (NETWORK[:1] + OPTIONS[:4], [WORK_DIR]):
        with raises(UsageError, 'data has changed', '6 images were added', '6 images', f'--pretrained {WORK_DIR}'):
            call('train', *again, '--resume')
    call('test', WORK_DIR, '--size', '48', '--check')  # with the lists of the training
    assert record() == before
    assert not list(WORK_DIR.glob('test/data/*'))


def test_resuming_what_is_not_there_is_said(place, capsys):
    call('train', *NETWORK, *OPTIONS, '--resume', '--work-dir', 'new', '--check')
    assert 'nothing to resume in new' in capsys.readouterr().out
    with raises(UsageError, 'nothing to resume', 'new'):
        call('train', 'new', '--resume')
    with raises(UsageError, '--epochs', 'another work_dir (--work-dir)'):
        call('train', next(WORK_DIR.glob('recipe/*.py')), '--epochs', '3', '--resume')


def test_a_folder_that_was_moved_is_the_same(place, capsys):
    (place / 'data').rename(place / 'moved')
    os.utime('moved/a/0.png')
    given = ['--class-folder', 'moved', *OPTIONS[2:]]
    call('train', *NETWORK, *given, '--resume', '--check')
    call('test', WORK_DIR, '--class-folder', 'moved', '--check')  # without the folder val/ of another split
    (place / 'moved/a/0.png').write_bytes(b'other')
    with raises(UsageError, 'has changed', '1 image was replaced (a/0.png)'):
        call('train', *NETWORK, *given, '--resume', '--check')


@pytest.mark.parametrize('other', ['resnet50', 'timm:resnet18'])
def test_another_network_is_not_resumed(other, place):
    with raises(UsageError, 'network=rest_lite', other):
        call('train', other, '--no-pretrained', *OPTIONS, '--work-dir', WORK_DIR, '--resume', '--check')


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize('named', [WORK_DIR / 'recipe/rest_lite_classifier.py', WORK_DIR])
def test_a_test_changes_nothing_of_its_run(named, place):
    before, scores = files(WORK_DIR), Predictor(WORK_DIR)('data/a/0.png')[0].to_dict()
    for number, options in enumerate((dict(tta=True), dict(out='x.pkl'), dict(work_dir=str(WORK_DIR)))):
        run_test(running.testing_config(str(named), str(WORK_DIR), cfg_options={
            'default_hooks.logger.interval': number + 1}, **options))
    assert files(WORK_DIR) == before and list(WORK_DIR.glob('test/*/vis_data'))
    assert Predictor(WORK_DIR)('data/a/0.png')[0].to_dict() == scores
    call('export', WORK_DIR, place / 'model.onnx')


def test_a_copied_run_is_its_own(place):
    shutil.copytree(WORK_DIR, 'copy')
    config, = Path('copy/recipe').glob('*.py')
    resumed = [training_config(each, resume=True) for each in (str(config), 'copy')]
    tested = [running.testing_config(each, 'copy') for each in (str(config), 'copy')]
    for cfg in (*resumed, *tested):
        lists = [Path(part.dataset.ann_file).resolve() for part in (cfg.train_dataloader, cfg.val_dataloader)]
        assert all(path.parent == (place / 'copy/recipe') and path.is_file() for path in lists)
        assert Path(cfg.load_from).resolve().parent == place / 'copy'
    assert all(Path(cfg.work_dir).resolve() == place / 'copy' for cfg in resumed)
    assert all(Path(cfg.work_dir).resolve() == place / 'copy/test' for cfg in tested)


def test_a_checkpoint_alone_brings_its_config(place, capsys):
    (place / 'empty').mkdir()
    shutil.copy(WORK_DIR / 'epoch_1.pth', 'empty/epoch_1.pth')
    call('predict', 'data/a/0.png', '--checkpoint', 'empty/epoch_1.pth', '--out-dir', 'drawn')
    call('test', 'empty/epoch_1.pth')
    assert 'accuracy/top1' in capsys.readouterr().out and list(place.glob('empty/test/*'))


def test_a_saved_config_starts_its_training_from_the_beginning(place):
    """MMEngine saves that of a training that goes on with its checkpoint."""
    call('train', WORK_DIR, '--resume')
    saved = WORK_DIR / 'rest_lite_classifier.py'
    assert Config.fromfile(saved).resume
    cfg = training_config(str(saved), work_dir='new')
    assert not cfg.resume and cfg.load_from is None and cfg.work_dir == 'new'


def test_what_changes_when_a_training_goes_on_is_said(place, capsys):
    again = 'train', WORK_DIR, '--resume', '--check'
    for options, words in ((['--seed', '9'], ['seed', '9']), (['--lr', '1'], ['lr=1.0', '--work-dir']),
                           (['--epochs', '3'], ['epochs=1', 'epochs=3'])):
        with raises(UsageError, *words):
            call(*again, *options)
    call(*again, '--no-amp', '--batch-size', '4')  # as before
    assert 'changed' not in capsys.readouterr().out
    call(*again, '--compile', '--cfg-options', 'default_hooks.logger.interval=7')
    told = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines() if line.startswith('changed')]
    assert 'default_hooks.logger.interval: 20 -> 7' in told and any('CompileHook' in line for line in told)


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1  # of JPEG files, the begin and the end are read
    path.write_bytes(content)


@TASKS
def test_a_corrected_file_of_the_same_size_is_another(task, tmp_path):
    """A mask with corrected labels often has the size of before."""
    folder = tmp_path / 'data'
    shutil.copytree(FOLDERS[task], folder)
    cfg = recipe(tmp_path, task, **{task: str(folder)}, check_files=True)
    save(cfg)
    changed = [*folder.glob('masks/val/*.png'), *folder.glob('annotations/instances_val.json'),
               *sorted(folder.rglob('val/**/*.jpg'))][0]
    lists = [*Path(cfg.work_dir, 'recipe').glob('val.txt')]
    assert RunFolder(cfg).list_changes(str(folder)) == []
    for path in (changed, *lists):
        change_a_byte(path)
        assert path.name in '; '.join(RunFolder(cfg).list_changes(str(folder)))


@TASKS
def test_what_has_changed_in_a_folder_is_said(task, tmp_path):
    shutil.copytree(FOLDERS[task], tmp_path / 'data')
    cfg = recipe(tmp_path, task, **{task: str(tmp_path / 'data')})
    save(cfg)
    copy = tmp_path / 'copy'
    shutil.copytree(tmp_path / 'data', copy)
    assert RunFolder(cfg).list_changes(str(copy)) == []
    image = next(copy.rglob('train/**/*.jpg'))
    image.unlink()
    changed = 'were added (val/gnu'
    if task == 'coco_folder':
        file = copy / 'annotations/instances_val.json'
        content = json.loads(file.read_text(encoding='utf-8'))
        content['categories'].append(dict(id=1000, name='gnu'))
        file.write_text(json.dumps(content), encoding='utf-8')
        changed = 'instances_val.json was changed'
    elif task == 'seg_folder':
        with open(copy / 'classes.txt', 'a', encoding='utf-8') as names:
            names.write('gnu\n')
        changed = 'classes.txt was changed'
    else:
        shutil.copytree(copy / 'val/roses', copy / 'val/gnu')
    found = '; '.join(RunFolder(cfg).list_changes(str(copy)))
    assert all(words in found for words in ('1 image was removed', image.name, changed)), found


def test_a_work_dir_that_another_command_prepares_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, 'nowhere'):
        call('train', *NETWORK, '--class-folder', 'nowhere')
    with lock_file(str(tmp_path / 'run' / TAKEN)), raises(UsageError, 'in use'):
        call('train', *NETWORK, '--class-folder', 'nowhere', '--work-dir', 'run')
    assert not holds_training('run')


@pytest.fixture
def opened(monkeypatch) -> Counter:
    """Returns how often each file was opened, by its name."""
    opened, before = Counter(), open

    def counted(file, *arguments, **options):
        opened[os.path.basename(file) if isinstance(file, (str, Path)) else None] += 1
        return before(file, *arguments, **options)

    for module in 'builtins', 'io':
        monkeypatch.setattr(f'{module}.open', counted)
    return opened


def test_the_config_of_a_run_is_that_inside_its_checkpoint(place, opened):
    """No file in the work dir is read as a config, or run."""
    for name in 'rest_lite_classifier.py', 'other.py':
        (WORK_DIR / name).write_text('open("run", "w")\n', encoding='utf-8')
    opened.clear()
    call('train', *NETWORK, *OPTIONS, '--resume', '--check')
    call('test', WORK_DIR, '--check')
    assert not opened['rest_lite_classifier.py'] and not opened['other.py'] and not (place / 'run').exists()


def test_everything_is_opened_and_built_once(tmp_path, monkeypatch, opened):
    """Annotations also by mmdet's data sets and metrics, and for their digest; a recipe is built without memory."""
    file = tmp_path / 'own.pth'
    torch.save(get_model('rest_lite', 'backbone').state_dict(), file)
    built, whole = Counter(), Backbone.__init__

    def build(self, *arguments, **options):
        built[torch.empty(0).device.type] += 1
        whole(self, *arguments, **options)

    monkeypatch.setattr(Backbone, '__init__', build)
    call('train', 'rest_lite', '--pretrained', file, '--coco-folder', FOLDERS['coco_folder'], '--light', '--size', '64',
         '--check', '--work-dir', tmp_path / 'run')
    config, = tmp_path.glob('run/recipe/*.py')
    names = 'instances_train.json', 'instances_val.json', config.name, '.lock'
    assert [opened[name] for name in names] == [3, 4, 1, 0] and built == dict(meta=1, cpu=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_preparing_opens_no_context_on_a_gpu(tmp_path):
    """The process that starts others would take memory on GPU 0."""
    code = f"""
import torch
from mmvit.cli import main
main(['train', 'rest_lite', '--no-pretrained', '--class-folder', {FOLDERS['class_folder']!r}, '--size', '32',
      '--work-dir', {str(tmp_path / 'run')!r}, '--check'])
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
