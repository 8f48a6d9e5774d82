"""Every file of a folder is either taken once, hidden, or left out for a stated reason."""
import os
from pathlib import Path

import pytest

from mmvit_backbones.data import folders
from mmvit_backbones.data.folders import LeftOutError, Split, class_images, list_folder, seg_images
from mmvit_backbones.errors import UsageError


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def link(place: Path, target: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def found(folder: Path, **options) -> dict[str, list[str]]:
    return class_images(str(folder), [''], **options)['']


def test_files_left_out_are_counted_by_suffix(tmp_path, capsys):
    """Hidden files and the files of operating systems are counted separately."""
    write(tmp_path, *(f'cat/{i}.jpg' for i in range(8)), *(f'cat/{i}.xyz' for i in range(8)), 'dog/7', 'dog/8.JFIF',
          'dog/9', 'dog/.DS_Store', 'dog/Thumbs.db', 'dog/.ipynb_checkpoints/a.jpg')
    with pytest.raises(LeftOutError, match='10 of 19 files left out: 8 .xyz, 2 without suffix; 3 hidden'):
        found(tmp_path)
    images = found(tmp_path, allow_left_out=True)
    assert images == dict(cat=[f'cat/{i}.jpg' for i in range(8)], dog=['dog/8.JFIF'])
    assert '10 of 19 files left out' in capsys.readouterr().err


def test_one_file_in_a_hundred_may_be_left_out(tmp_path, capsys):
    write(tmp_path, *(f'cat/{i}.jpg' for i in range(99)), 'cat/labels.txt')
    assert len(found(tmp_path)['cat']) == 99
    assert '1 of 100 files left out: 1 .txt' in capsys.readouterr().err
    write(tmp_path, 'stray.png')
    with pytest.raises(LeftOutError, match='2 of 101 files left out: .*1 in no class folder'):
        found(tmp_path)


def test_number_of_files_is_printed_if_all_are_taken(tmp_path, capsys):
    write(tmp_path, 'cat/a.jpg', 'cat/deep/b.png')
    assert found(tmp_path) == dict(cat=['cat/a.jpg', 'cat/deep/b.png'])
    assert '2 files found, all taken' in capsys.readouterr().out


@pytest.mark.parametrize('place, target', [
    ('cat/loop', '..'), ('cat/loop', '.'), ('cat/more', '../dog'), ('cat/more', '../dog/deep'), ('loop', '.'),
    ('cat/c.jpg', 'a.jpg'), ('cat/c.jpg', '../dog/a.jpg'), ('cat/c.jpg', '../dog/deep/a.jpg')])
def test_links_find_no_file_twice(place, target, tmp_path):
    write(tmp_path, *(f'{name}/a.jpg' for name in ('cat', 'dog', 'dog/deep')))
    link(tmp_path / place, target)
    assert found(tmp_path, allow_left_out=True) == dict(cat=['cat/a.jpg'], dog=['dog/a.jpg', 'dog/deep/a.jpg'])


def test_links_to_the_other_split_find_no_file_twice(tmp_path):
    write(tmp_path, 'train/cat/a.jpg', 'val/cat/b.jpg')
    link(tmp_path / 'val/cat/more', '../../train/cat')
    link(tmp_path / 'train/cat/more', '../../val')
    images = class_images(str(tmp_path), ['train', 'val'], allow_left_out=True)
    assert images == dict(train=dict(cat=['cat/a.jpg']), val=dict(cat=['cat/b.jpg']))


def test_links_inside_of_the_folder_are_followed_once(tmp_path):
    write(tmp_path, 'pool/a.jpg', 'pool/deep/b.jpg', 'train/cat/c.jpg')
    link(tmp_path / 'train/cat/more', '../../pool')
    link(tmp_path / 'train/cat/again', '../../pool/deep')
    images = class_images(str(tmp_path), ['train'], allow_left_out=True)['train']['cat']
    assert sorted(Path(image).name for image in images) == ['a.jpg', 'b.jpg', 'c.jpg']


@pytest.mark.parametrize('name, expected', [
    ('cat', dict(cat=['cat/b.jpg', 'cat/z.jpg'], dog=[])), ('dog', dict(cat=['cat/z.jpg'], dog=['dog/b.jpg']))])
def test_a_file_and_its_folder_may_both_be_linked(name, expected, tmp_path):
    write(tmp_path, 'pool/a.jpg', f'train/{name}/b.jpg')
    (tmp_path / 'train/dog').mkdir(exist_ok=True)
    link(tmp_path / 'train/cat/z.jpg', '../../pool/a.jpg')
    link(tmp_path / f'train/{name}/more', '../../pool')
    with pytest.raises(LeftOutError, match='1 of 3 files left out: 1 files that have been found by a link'):
        class_images(str(tmp_path), ['train'])
    assert class_images(str(tmp_path), ['train'], allow_left_out=True)['train'] == expected


def test_a_link_with_a_suffix_to_a_file_without_one_is_an_image(tmp_path):
    write(tmp_path, 'cat/blob')
    link(tmp_path / 'cat/a.jpg', 'blob')
    assert found(tmp_path, allow_left_out=True) == dict(cat=['cat/a.jpg'])


def test_links_to_outside(tmp_path):
    """Splits, classes and images may be links out of the data set; folders within a class may not."""
    write(tmp_path / 'elsewhere', 'cat/a.jpg', 'b.jpg', 'more/c.jpg', 'dog/d.jpg')
    link(tmp_path / 'data/cat', '../elsewhere/cat')
    write(tmp_path / 'data', 'dog/e.jpg')
    link(tmp_path / 'data/dog/b.jpg', '../../elsewhere/b.jpg')
    assert found(tmp_path / 'data') == dict(cat=['cat/a.jpg'], dog=['dog/b.jpg', 'dog/e.jpg'])
    link(tmp_path / 'all', 'data')
    assert found(tmp_path / 'all') == found(tmp_path / 'data')
    write(tmp_path / 'data', *(f'dog/{i}.jpg' for i in range(200)))
    link(tmp_path / 'data/dog/more', '../../elsewhere/more')
    with pytest.raises(LeftOutError, match='1 links to folders outside'):
        found(tmp_path / 'data')


def test_pipes_and_broken_links_are_left_out_unopened(tmp_path):
    write(tmp_path, 'cat/a.jpg')
    os.mkfifo(tmp_path / 'cat/fifo.jpg')
    link(tmp_path / 'cat/nothing.jpg', 'missing')
    link(tmp_path / 'cat/self.jpg', 'self.jpg')
    with pytest.raises(LeftOutError, match='3 of 4 files left out: 2 broken links, 1 not regular files'):
        found(tmp_path)


def test_one_folder_is_not_two_classes(tmp_path):
    write(tmp_path, 'cat/a.jpg')
    link(tmp_path / 'dog', 'cat')
    with pytest.raises(UsageError, match='cat and .*dog are the same folder'):
        found(tmp_path)


@pytest.mark.parametrize('names, message', [
    (['cat/a\nb.jpg'], "'cat/a.nb.jpg' has a line break"),
    (['cat/a\rb.jpg'], 'has a line break'), ([' cat/a.jpg'], "' cat/a.jpg' has .* a space"),
    (['cat/\udcff.jpg'], 'is not in UTF-8'), (['cat/a.jpg', 'Cat/b.jpg'], "got 'Cat' and 'cat'"),
    (['traffic light/a.jpg', 'trafficlight/b.jpg'], 'differ by more than case or space')])
def test_names_that_cannot_be_in_a_list(names, message, tmp_path):
    write(tmp_path, *names)
    with pytest.raises(UsageError, match=message):
        found(tmp_path)


def test_images_of_a_segmenter(tmp_path):
    write(tmp_path, 'images/train/b.jpg', 'images/train/deep/a.jpg', 'masks/train/b.png', 'masks/train/deep/a.png')
    masks = seg_images(str(tmp_path), 'train')
    assert masks == {name: str(tmp_path / 'masks/train' / f'{name[:-4]}.png') for name in ('b.jpg', 'deep/a.jpg')}
    write(tmp_path, 'images/train/c.xyz', 'images/train/d')
    with pytest.raises(LeftOutError, match='2 of 4 files left out: 1 .xyz, 1 without suffix'):
        seg_images(str(tmp_path), 'train')
    write(tmp_path, 'images/train/e .jpg')
    with pytest.raises(UsageError, match="'e ' has .* a space"):
        seg_images(str(tmp_path), 'train', allow_left_out=True)


def test_a_link_to_the_parent_folder_is_no_class(tmp_path):
    write(tmp_path, 'cat/a.jpg', 'dog/b.jpg')
    link(tmp_path / 'all', '.')
    assert found(tmp_path) == dict(cat=['cat/a.jpg'], dog=['dog/b.jpg'])


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(UsageError, match='cannot be read'):
        list_folder(str(tmp_path / 'missing'))


def test_a_folder_without_images_is_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(UsageError, match='images/train has no images'):
            seg_images(str(tmp_path), 'train')
        (tmp_path / 'images/train').mkdir(parents=True, exist_ok=True)


def test_images_of_a_segmenter_have_one_suffix_and_a_mask(tmp_path):
    write(tmp_path, 'images/a.jpg', 'images/b.png', 'masks/a.png')
    with pytest.raises(UsageError, match=r"same suffix, got \['.jpg', '.png'\]"):
        seg_images(str(tmp_path), '')
    (tmp_path / 'images/b.png').rename(tmp_path / 'images/b.jpg')
    write(tmp_path, 'images/c.jpg')
    with pytest.raises(UsageError, match='images/b.jpg has no mask .*masks/b.png'):
        seg_images(str(tmp_path), '')


def test_a_class_inside_of_another_class_has_its_own_images(tmp_path):
    """No file is found twice; it belongs to the class that is first in alphabetical order."""
    write(tmp_path, 'cat/a.jpg', 'cat/deep/b.jpg')
    link(tmp_path / 'zoo', 'cat/deep')
    assert found(tmp_path) == dict(cat=['cat/a.jpg', 'cat/deep/b.jpg'], zoo=[])
    link(tmp_path / 'animal', 'cat/deep')
    (tmp_path / 'zoo').unlink()
    assert found(tmp_path) == dict(animal=['animal/b.jpg'], cat=['cat/a.jpg'])


def test_links_to_hidden_folders_and_two_links_to_a_file(tmp_path):
    write(tmp_path, 'data/cat/.hidden/a.jpg', 'b.jpg')
    link(tmp_path / 'data/cat/c.jpg', '.hidden/a.jpg')
    assert found(tmp_path / 'data') == dict(cat=['cat/c.jpg'])
    for name in 'de':
        link(tmp_path / f'data/cat/{name}.jpg', '../../b.jpg')
    with pytest.raises(LeftOutError, match='1 of 3 files left out: 1 links to files'):
        found(tmp_path / 'data')
    assert len(found(tmp_path / 'data', allow_left_out=True)['cat']) == 2


def test_only_images_outside_of_class_folders_are_left_out(tmp_path, capsys, monkeypatch):
    """Spaces around names of classes are stripped. Only the first process prints."""
    write(tmp_path, 'cat /a.jpg', '.b.png', 'notes.txt', '.hidden/c.jpg')
    assert found(tmp_path) == dict(cat=['cat /a.jpg'])
    assert capsys.readouterr().out.strip().endswith(': 1 files found, all taken')
    write(tmp_path, 'd.PNG')
    found(tmp_path, allow_left_out=True)
    assert '1 of 2 files left out: 1 in no class folder' in capsys.readouterr().err
    monkeypatch.setenv('RANK', '1')
    found(tmp_path, allow_left_out=True)
    (tmp_path / 'd.PNG').unlink()
    found(tmp_path)
    assert capsys.readouterr() == ('', '')


def test_how_to_read_other_formats(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, 'SUFFIXES', ('.jpg', ))
    write(tmp_path, 'cat/a.jpg', 'cat/b.HEIC', 'cat/c.heic', 'cat/d.txt')
    with pytest.raises(LeftOutError, match=r'3 of 4 files left out: 2 .heic \(pip install pillow-heif\), 1 .txt; '):
        found(tmp_path)


@pytest.mark.parametrize('fraction, total, expected', [
    (0.25, 8, 2), (0.01, 8, 1), (0.99, 8, 7), (0.5, 1, 0), (0.5, 0, 0), (0.3, 10, 3)])
def test_number_of_validation_images(fraction, total, expected):
    """Both parts have an image if there are two; the order is kept."""
    items = [f'{i:02}' for i in range(total)]
    train, val = Split(fraction).divide(items)
    assert len(val) == expected and sorted(train + val) == items and train == sorted(train) and val == sorted(val)
    assert (train, val) == Split(fraction, seed=0).divide(items)


def test_folders_of_a_split(tmp_path):
    assert Split().find_parts(str(tmp_path)) == dict(train='train', val='val')
    assert Split(0.5).find_parts(str(tmp_path)) == dict(train='', val='')
    write(tmp_path, 'train/a.jpg')
    assert Split(0.5).find_parts(str(tmp_path)) == dict(train='train', val='train')
    (tmp_path / 'val').mkdir()
    with pytest.raises(UsageError, match='--val-fraction.*val exists'):
        Split(0.5).find_parts(str(tmp_path))
    with pytest.raises(ValueError, match='val_fraction'):
        Split().divide([])
