"""Images in a folder per class become the data sets of a classifier."""
import shutil
from pathlib import Path
from unicodedata import normalize
from zlib import crc32

import pytest
from data_folders import checked_folder
from helpers import ROOT, raises
from mmengine.registry import DATASETS
from PIL import Image

from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')

FLOWERS = ROOT / 'data/flowers_mini'


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8), tuple(crc32(path.encode()).to_bytes(4, 'big')[:3])).save(folder / path)


def samples(config: dict) -> list[tuple[str, int]]:
    from mmpretrain import datasets  # noqa: F401
    infos = DATASETS.build(dict(config, pipeline=[], _scope_='mmpretrain'))
    infos = [infos.get_data_info(i) for i in range(len(infos))]
    assert all(Path(info['img_path']).is_file() for info in infos)
    return [(Path(info['img_path']).name, info['gt_label']) for info in infos]


def test_folders_become_classes(tmp_path, monkeypatch):
    """Paths stay relative if they were given so."""
    monkeypatch.chdir(tmp_path)
    Path('data').symlink_to(ROOT / 'data')
    data = checked_folder('class_folder', 'data/flowers_mini', out='out')
    assert data.classes == ('daisy', 'dandelion', 'roses', 'sunflowers', 'tulips')
    assert (data.count('train'), data.count('val')) == (len(samples(data.train)), len(samples(data.val))) == (240, 60)
    assert data.train['data_root'] == 'data/flowers_mini' and data.train['metainfo']['classes'] == data.classes


@pytest.mark.parametrize('paths, words', [
    ([], ['--val-fraction']), (['train/cat/a.jpg'], ['val/', '--val-fraction']), (['val/cat/a.jpg'], ['train/CLASS/']),
    (['val/cat/a.jpg', 'train/dog/a.jpg', 'train/cow/a.jpg'], ['cat', 'dog']),
    (['val/cat/a.jpg', 'train/a.jpg'], ['train/CLASS/'])])
def test_other_layouts(tmp_path, paths, words):
    write(tmp_path, *paths)
    with raises(UsageError, *words):
        checked_folder('class_folder', tmp_path)


def test_a_classifier_needs_two_classes(tmp_path):
    """A folder one level too deep is the usual cause; the accuracy would be 100 %."""
    write(tmp_path, 'train/animals/cat/a.jpg', 'train/animals/dog/a.jpg', 'val/animals/cat/b.jpg')
    with raises(UsageError, 'two classes', 'animals alone'):
        checked_folder('class_folder', tmp_path)
    of_a_training = checked_folder('class_folder', tmp_path, classes=('animals', ))  # that was allowed
    assert of_a_training.count('val') == 1


def test_a_classifier_needs_validation_images(tmp_path):
    write(tmp_path, 'train/cat/a.jpg', 'train/dog/a.jpg')
    (tmp_path / 'val/cat').mkdir(parents=True)
    with raises(UsageError, 'no validation images'):
        checked_folder('class_folder', tmp_path)
    shutil.rmtree(tmp_path / 'val')
    with raises(UsageError, 'no validation images', 'two different images'):
        checked_folder('class_folder', tmp_path, val_fraction=0.5)


def test_hidden_folders_are_ignored_and_validation_images_may_be_missing(tmp_path, capsys):
    """Copies of images in hidden folders, which Jupyter creates, are also ignored."""
    write(tmp_path, 'train/cat/a.jpg', 'train/dog/b.webp', 'train/.ipynb_checkpoints/a.jpg', 'val/.DS/a.jpg',
          'train/dog/.ipynb_checkpoints/b-checkpoint.jpg', 'val/dog/c.jpg')
    data = checked_folder('class_folder', tmp_path)
    assert 'no validation images of the classes cat' in capsys.readouterr().err
    assert samples(data.train) == [('a.jpg', 0), ('b.webp', 1)] and samples(data.val) == [('c.jpg', 1)]


def test_names_with_spaces_and_accents(tmp_path):
    """macOS writes accents as separate characters (NFD)."""
    names = [normalize(form, 'Pfützen im März') for form in ('NFC', 'NFD')]
    write(tmp_path, f'train/{names[0]}/ä b.jpg', 'train/ cat/a.jpg', f'val/{names[0]}/ö.jpg', 'val/ cat/ a.jpg')
    data = checked_folder('class_folder', tmp_path)
    assert data.classes == (' cat', names[0])
    assert samples(data.train) == [('a.jpg', 0), ('ä b.jpg', 1)] and samples(data.val) == [(' a.jpg', 0), ('ö.jpg', 1)]
    (tmp_path / 'val' / names[0]).rename(tmp_path / 'val' / names[1])
    with raises(UsageError, 'the training lacks', names[1]):
        checked_folder('class_folder', tmp_path)


def test_other_data_are_tested_with_the_classes_of_a_training(tmp_path):
    write(tmp_path, 'val/cat/a.jpg', 'val/cow/b.jpg')
    data = checked_folder('class_folder', tmp_path, classes=('dog', 'cow', 'cat'))
    assert samples(data.val) == [('b.jpg', 1), ('a.jpg', 2)] and not data.train and data.count('train') == 0
    with raises(UsageError, 'cow'):
        checked_folder('class_folder', tmp_path, classes=('dog', 'cat'))
    shutil.move(tmp_path / 'val', tmp_path / 'train')
    write(tmp_path, 'train/cat/c.jpg')
    data = checked_folder('class_folder', tmp_path, classes=('dog', 'cow', 'cat'), val_fraction=0.5)
    assert [label for _, label in samples(data.val)] == [2]


def test_other_data_after_an_image_are_ignored(tmp_path):
    """Phones append previews and videos to JPEG files."""
    write(tmp_path, 'train/cat/a.jpg', 'val/cat/a.jpg', 'train/dog/a.jpg')
    with (tmp_path / 'train/cat/a.jpg').open('ab') as file:
        file.write(b'x' * 1000)
    assert checked_folder('class_folder', tmp_path).count('train') == 2


def test_few_images_are_told(tmp_path, capsys):
    """Of ten validation images, each is worth 10 points, which no comparison survives."""
    write(tmp_path, 'train/cat/a.jpg', *(f'train/dog/{i}.jpg' for i in range(10)),
          *(f'val/{name}/{i}.jpg' for name in ('cat', 'dog') for i in range(2)))
    checked_folder('class_folder', tmp_path)
    err = capsys.readouterr().err
    assert 'even share: cat;' in err and '25 points' in err
    write(tmp_path, *(f'train/cat/{i}.jpg' for i in range(9)), *(f'val/cat/{i}.jpg' for i in range(2, 8)))
    checked_folder('class_folder', tmp_path)
    err = capsys.readouterr().err
    assert 'even share' not in err and 'points' not in err
