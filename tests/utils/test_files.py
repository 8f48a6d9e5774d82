"""Only regular files are opened; for all other paths, the error contains the reason."""
import os

import pytest
from helpers import raises

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.files import check_file, open_complete, open_output


def test_paths_that_are_not_files_are_refused(tmp_path):
    (tmp_path / 'a').touch()
    check_file(tmp_path / 'a')
    os.mkfifo(tmp_path / 'pipe')
    for path, reason in [('missing', 'does not exist'), ('a/b', 'does not exist'), ('', 'is a folder'),
                         ('pipe', 'is a pipe'), ('n' * 300, 'File name too long'), ('a\0', 'null')]:
        with raises(UsageError, 'model', tmp_path / path, reason):
            check_file(tmp_path / path, 'model')


def test_paths_that_cannot_be_written_are_refused(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'a').symlink_to(tmp_path / 'b')
    for path, reason in [('pipe', 'it is a pipe'), ('a', 'it is a link'), ('', 'Is a directory'),
                         ('no/c', 'No such file'), ('a\0', 'null')]:
        with raises(UsageError, tmp_path / path, reason):
            open_output(tmp_path / path)
    assert not (tmp_path / 'b').exists()


def test_a_file_is_replaced(tmp_path):
    for text in b'first', b'second':
        with open_output(tmp_path / 'a') as file:
            file.write(text)
        assert (tmp_path / 'a').read_bytes() == text


@pytest.mark.parametrize('text', ['old and longer', ''])
def test_earlier_content_is_truncated(text, tmp_path):
    (tmp_path / 'a').write_text(text)
    with open_output(tmp_path / 'a', 'w') as file:
        file.write('new')
    assert (tmp_path / 'a').read_text() == 'new'


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(KeyError), open_complete(path, 'w') as file:
        file.write('half')
        raise KeyError
    assert path.read_text() == 'old' and (tmp_path / 'a.part').read_text() == 'half'
    with open_complete(path) as file:
        file.write(b'new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new' and not (tmp_path / 'a.part').exists()
