"""Only regular files are opened; for all other paths, the error contains the reason."""
import ntpath
import os
from pathlib import Path
from types import SimpleNamespace

from helpers import raises

from mmvit.utils.shell import short_path
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_file, check_outputs, replaced_when_complete


def test_paths_that_are_not_files_are_refused(tmp_path):
    (tmp_path / 'a').touch()
    check_file(tmp_path / 'a')
    os.mkfifo(tmp_path / 'pipe')
    for path, reason in [('missing', 'does not exist'), ('a/b', 'does not exist'), ('', 'is a folder'),
                         ('pipe', 'is a pipe')]:
        with raises(UsageError, 'model', tmp_path / path, reason):
            check_file(tmp_path / path, 'model')


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    """With the file beside it, that of an earlier one."""
    path = tmp_path / 'results.json'
    (tmp_path / 'results.json.data').touch()
    for text in 'first', 'second':
        with replaced_when_complete(path, ['.data']) as part:
            part.write_text(text)
    with raises(UsageError, path, 'cannot be written', 'No space left on device'), replaced_when_complete(path) as part:
        part.write_text('half')
        Path('/dev/full').write_text('rest', encoding='utf-8')
    assert [file.read_text() for file in tmp_path.iterdir()] == ['second']


def test_a_file_that_is_read_is_no_output_under_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('photos').mkdir()
    photo = Path('photos/a.png')
    photo.touch()
    Path('linked').symlink_to('photos')
    Path('link.png').symlink_to(photo)
    Path('hard.png').hardlink_to(photo)
    for path in photo, 'photos/../photos/a.png', tmp_path / photo, 'linked/a.png', 'link.png', 'hard.png':
        with raises(UsageError, 'out', path, 'is read'):
            check_outputs('out', ['new.png', path], [None, 'http://host/a.png', b'encoded', photo])
    Path('other.png').touch()
    check_outputs('out', ['other.png', 'new.png', 'photos'], [photo, 'missing.png'])


def test_a_link_is_replaced_and_not_followed(tmp_path):
    original, link, hard = tmp_path / 'original', tmp_path / 'link', tmp_path / 'hard'
    original.write_text('original')
    link.symlink_to(original)
    hard.hardlink_to(original)
    for path in link, hard:
        with replaced_when_complete(path) as part:
            part.write_text('new')
    assert (original.read_text(), link.read_text(), hard.read_text()) == ('original', 'new', 'new')


def test_paths_are_shown_as_users_write_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short_path(str(tmp_path / 'runs/a')) == 'runs/a'
    assert short_path(str(tmp_path.parent)) == str(tmp_path.parent)
    monkeypatch.setattr('mmvit_backbones.utils.file_access.os', SimpleNamespace(path=ntpath, pardir='..'))
    assert short_path(r'D:\runs\a') == r'D:\runs\a'  # on another drive than the current folder
