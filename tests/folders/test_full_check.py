"""All unusable files of a folder or a config are found."""
import shutil
from pathlib import Path

import pytest
from data_folders import damage
from helpers import ROOT, raises
from subcommands import call

from mmvit.folders.data_set_files import errors_and_warnings, folder_problems
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


@pytest.mark.parametrize('name, folder', [('coco_folder', 'coco_mini'), ('class_folder', 'flowers_mini')])
def test_good_folders_have_no_errors(name, folder):
    assert errors_and_warnings(folder_problems(**{name: DATA / folder}))[0] == []


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
