"""All unusable files of a folder or a config are found."""
import shutil
from pathlib import Path

import pytest
from data_folders import checked_folder, damage, edit
from helpers import ROOT, raises
from subcommands import call

from mmvit.folders import read_folder
from mmvit.folders.copies import originals_of
from mmvit.folders.images import digest_at
from mmvit.folders.record import RECORD, find_changes, write_record
from mmvit.running.data_set_files import errors_and_warnings, folder_problems
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')

DATA = ROOT / 'data'


def test_all_bad_files_of_a_config_are_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    shutil.copytree(DATA / 'flowers_mini/val', tmp_path / 'val')
    bad = sorted((tmp_path / 'val').glob('*/*.jpg'))[::20]
    for path in bad:
        damage(path, 'half')
    arguments = 'data check', 'tests/configs/imagenet_reswin_t.py', '--splits', 'val', '--data-root', tmp_path
    with pytest.raises(SystemExit) as ended:
        call(*arguments)
    printed = capsys.readouterr().out
    assert ended.value.code == 1 and '3 errors' in printed
    assert all(f'image {path} cannot be read' in printed for path in bad)
    for path in bad:
        path.unlink()
    call(*arguments)
    assert '0 errors' in capsys.readouterr().out


def test_all_bad_files_of_a_folder_are_listed(tmp_path):
    """The first error, with which a training would end, is not repeated."""
    for part in ('images', 'masks'):
        shutil.copytree(DATA / f'camvid_mini/{part}/val', tmp_path / part)
    shutil.copy(DATA / 'camvid_mini/classes.txt', tmp_path)
    for path in sorted((tmp_path / 'images').iterdir())[:7]:
        damage(path, 'half')
    errors, _ = errors_and_warnings(folder_problems(seg_folder=tmp_path, val_fraction=0.2))
    listed = [error for error in errors if 'list all' not in error]
    assert len(listed) == 7 and all('cannot be read' in error for error in listed)
    with raises(UsageError, 'error 1 of 7'):
        checked_folder('seg_folder', tmp_path, val_fraction=0.2)


@pytest.mark.parametrize('name, folder', [
    ('coco_folder', 'coco_mini'), ('class_folder', 'flowers_mini'), ('seg_folder', 'camvid_mini')])
def test_good_folders_have_no_errors(name, folder):
    assert errors_and_warnings(folder_problems(**{name: DATA / folder}))[0] == []


@pytest.mark.parametrize('task, name, place', [
    ('class_folder', 'flowers_mini', 'train/roses'), ('coco_folder', 'coco_mini', 'train'),
    ('seg_folder', 'camvid_mini', 'images/train')])
def test_copies_of_images(task, name, place, tmp_path, capsys):
    """Images in both parts are an error of the check, and a warning of a training; a split puts copies into one."""
    folder = shutil.copytree(DATA / name, tmp_path / 'data')
    names = []
    for number, file in enumerate(sorted((folder / place.replace('train', 'val')).iterdir())[:3]):
        for copy in 'ab':
            names.append(f'{number}{copy}{file.suffix}')
            shutil.copy(file, folder / place / names[-1])
            if task == 'seg_folder':
                shutil.copy(folder / f'masks/val/{file.stem}.png', folder / f'masks/train/{number}{copy}.png')
    if task == 'coco_folder':
        def list_them(content):
            content['images'] += [dict(content['images'][0], id=10**6 + i, file_name=name)
                                  for i, name in enumerate(names)]
            for annotation in content['annotations']:  # for a split with all classes in both parts
                annotation['category_id'] = content['categories'][0]['id']
        edit(folder / 'annotations/instances_train.json', list_them)
    error, = (text for text in errors_and_warnings(folder_problems(**{task: folder}))[0] if 'also' in text)
    assert '3 of ' in error and f'{names[0]}), so' in error
    checked_folder(task, folder)
    assert f'warning: {error}' in capsys.readouterr().err
    for path in 'val', 'images/val', 'annotations/instances_val.json':
        shutil.rmtree(folder / path, ignore_errors=True)
    for seed in range(5):
        data = read_folder(task, folder, val_fraction=0.5, split_seed=seed)
        chosen = {Path(raster.image).name for raster in data.rasters['val']}
        assert all((one in chosen) == (two in chosen) for one, two in zip(names[::2], names[1::2]))


def test_files_are_compared_as_a_whole(tmp_path):
    """Records of version 1, which is not in them, have the ends of JPEG files."""
    folder = shutil.copytree(DATA / 'flowers_mini', tmp_path / 'data')
    write_record(str(tmp_path), 'class_folder', str(folder), read_folder('class_folder', folder))
    image = max(folder.glob('train/*/*.jpg'), key=lambda path: path.stat().st_size)
    other = Path(shutil.copy(image, tmp_path / 'other.jpg'))
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 1
    image.write_bytes(content)
    assert originals_of([str(other), str(image)]) == {str(other): str(other), str(image): str(image)}
    assert find_changes(str(tmp_path), str(folder)) == [f'1 image was replaced ({image.relative_to(folder)})']

    def as_before(record):
        del record['version']
        record['images'] = {name: digest_at(folder / name, of_ends=True) for name in record['images']}
    edit(tmp_path / RECORD, as_before)
    assert find_changes(str(tmp_path), str(folder)) == []
    other.replace(folder / min(path for path in folder.glob('val/*/*.jpg')))
    assert 'replaced' in find_changes(str(tmp_path), str(folder))[0]


CONFIG = ROOT / 'tests/configs/imagenet_reswin_t.py'


@pytest.mark.parametrize('arguments, words', [
    ([], ['config', '--coco-folder']), (['a.py', '--coco-folder', 'a'], ['config', '--coco-folder']),
    ([CONFIG, '--val-fraction', '0.1'], ['--val-fraction', 'folder']),
    (['--seg-folder', 'a', '--data-root', 'b'], ['--data-root', 'config']),
    (['--seg-folder', 'a', '--boxes'], ['boxes_only', 'coco_folder']), ([CONFIG, '--boxes'], ['--boxes', 'folder']),
    (['--seg-folder', 'a', '--splits', 'test'], ['--splits', 'test']),
    (['--class-folder', 'nowhere'], ['nowhere', 'train'])])
def test_wrong_arguments_are_refused(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, *words):
        call('data check', *arguments)
    assert not list(Path().iterdir())
