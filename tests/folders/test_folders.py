"""Every file of a folder is either taken once, hidden, or left out with a warning."""
from pathlib import Path
from unicodedata import normalize

import pytest
from helpers import raises

from mmvit.folders import read_folder
from mmvit.folders.class_folder import class_images
from mmvit.folders.folders import Split, format_name, relate_to, write_file
from mmvit_backbones.errors import UsageError


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def link(place: Path, target: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def found(folder: Path) -> dict[str, list[str]]:
    return class_images(str(folder), [''])['']


def test_files_left_out_are_counted_by_suffix(tmp_path, capsys):
    """Hidden files and those of operating systems are not counted."""
    write(tmp_path, 'cat/a.jpg', 'cat/deep/b.PNG', 'cat/c.heic', 'cat/d.heic', 'dog/8.JFIF', 'dog/9', 'dog/.DS_Store',
          'dog/Thumbs.db', 'dog/.ipynb_checkpoints/a.jpg', 'stray.jpg')
    link(tmp_path / 'cat/e.jpg', 'missing')
    assert found(tmp_path) == dict(cat=['cat/a.jpg', 'cat/deep/b.PNG'], dog=['dog/8.JFIF'])
    error = capsys.readouterr().err
    assert '5 of 8 files left out: 2 .heic' in error
    assert all(text in error for text in ('1 without suffix', '1 broken links', '1 in no class folder'))


def test_links_are_followed_once(tmp_path):
    write(tmp_path, 'elsewhere/a.jpg', 'data/cat/b.jpg')
    for name, target in ('more', '../../elsewhere'), ('again', '../../elsewhere'), ('loop', '..'), ('self', '.'):
        link(tmp_path / 'data/cat' / name, target)
    link(tmp_path / 'data/dog', '../elsewhere')
    images = found(tmp_path / 'data')
    assert sorted(Path(image).name for image in images['cat']) == ['a.jpg', 'b.jpg'] and images['dog'] == ['dog/a.jpg']


def test_names_of_classes_differ_by_more_than_their_unicode_form(tmp_path):
    write(tmp_path, *(f'{normalize(form, "Müll")}/a.jpg' for form in ('NFC', 'NFD')))
    with raises(UsageError, 'NFC, NFD'):
        found(tmp_path)


def test_folders_of_a_split(tmp_path):
    with raises(UsageError, f'no folder {tmp_path}/val/', 'as expected'):
        Split().find_parts(str(tmp_path), 'as expected')
    assert Split(0.5).find_parts(str(tmp_path), '') == dict(train='', val='')
    write(tmp_path, 'train/a.jpg')
    assert Split(0.5).find_parts(str(tmp_path), '') == dict(train='train', val='train')
    (tmp_path / 'val').mkdir()
    assert Split().find_parts(str(tmp_path), '') == dict(train='train', val='val')
    with raises(UsageError, '--val-fraction', 'there is a folder', 'rename'):
        Split(0.5).find_parts(str(tmp_path), '')
    with raises(UsageError, 'split_seed', 3, 'val_fraction'):
        Split(seed=3)


def test_paths_are_relative_where_openmmlab_finds_them(tmp_path, monkeypatch):
    """Two dots after a link lead to the parent of its target."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'elsewhere/deep/a.jpg', 'data/a.jpg')
    Path('linked').symlink_to('elsewhere/deep')
    for root in 'data', 'linked', str(tmp_path / 'data'):
        path = write_file('out', 'list.txt', 'text')
        assert path == 'out/list.txt' and (Path(root) / relate_to(root, path)).read_text() == 'text'
    assert relate_to('data', 'out/list.txt') == '../out/list.txt'


def test_names_that_a_list_cannot_hold():
    assert format_name(' a.jpg') == './ a.jpg' and format_name('a b.jpg') == 'a b.jpg'
    for name in 'a\n.jpg', 'a ', 'b\udcff.jpg':
        with raises(UsageError, repr(name)):
            format_name(name)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('fraction', [0.05, 0.5, 0.95])
def test_each_class_of_several_images_is_in_both_parts(fraction, seed):
    rare = {3: ['rare', 'common'], 17: ['rare'], 5: ['single'], **{i: ['common'] for i in range(20, 24)}}
    labels = {str(i): rare.get(i, []) for i in range(40)}
    chosen = Split(fraction, seed).choose('', [labels], labels)
    for part in chosen, labels.keys() - chosen:
        assert {'rare', 'common'} <= {name for image in part for name in labels[image]}
    assert chosen == Split(fraction, seed).choose('', [labels], labels)
    assert abs(len(chosen) - fraction * 40) <= 4


@pytest.mark.parametrize('labels, words', [
    ([['a']], ['two different images', 'got 1']), ([[], ['a'], []], ['two different images with objects', 'got 1']),
    ([['a', 'b'], ['b', 'c'], ['a', 'c']], ['no split', 'train and val'])])
def test_a_split_without_a_class_in_a_part_is_refused(labels, words):
    with raises(UsageError, 'val_fraction', *words):
        named = {str(i): names for i, names in enumerate(labels)}
        Split(0.3).choose('', [named], named)


FOLDERS = dict(flat=('bus', 'car', 'train'), deep=('bus', 'car', 'train/ice', 'train/tgv'),
               images=('bus', 'car', 'images'),
               test=('bus', 'car', 'test'), val=('bus', 'car', 'val'), split=('train/bus', 'train/car', 'test/bus'))


@pytest.mark.parametrize('name, classes, words', [
    ('flat', None, 'bus, car are not used, only those in train; rename train'), ('val', None, 'val; rename it'),
    ('deep', None, 'bus, car are not used, only those in train; rename train'), ('test', ('bus', 'car', 'test'), ''),
    ('images', ('bus', 'car', 'images'), ''), ('split', ('bus', 'car'), 'the images in test are not used')])
def test_classes_with_the_name_of_a_part_are_used_or_said(name, classes, words, tmp_path, capsys):
    """Two of these names, and no others, are taken for the parts of the data."""
    write(tmp_path, *(f'{place}/{i}.jpg' for place in FOLDERS[name] for i in range(4)))
    if classes is None:
        with raises(UsageError, words):
            read_folder('class_folder', tmp_path, val_fraction=0.3)
        return
    assert read_folder('class_folder', tmp_path, val_fraction=0.3).classes == classes
    assert (words in capsys.readouterr().err) if words else not capsys.readouterr().err


def test_images_beside_the_parts_are_said(tmp_path, capsys):
    write(tmp_path, *(f'{part}/{name}/a.jpg' for part in ('train', 'val', 'test', 'extra') for name in ('cat', 'dog')))
    read_folder('class_folder', tmp_path)
    assert 'the images in extra, test are not used' in capsys.readouterr().err
