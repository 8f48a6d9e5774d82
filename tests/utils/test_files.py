"""Only regular files are opened; for all other paths, the error contains the reason."""
import os

from helpers import raises

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.files import check_file


def test_paths_that_are_not_files_are_refused(tmp_path):
    (tmp_path / 'a').touch()
    check_file(tmp_path / 'a')
    os.mkfifo(tmp_path / 'pipe')
    for path, reason in [('missing', 'does not exist'), ('a/b', 'does not exist'), ('', 'is a folder'),
                         ('pipe', 'is a pipe')]:
        with raises(UsageError, 'model', tmp_path / path, reason):
            check_file(tmp_path / path, 'model')
