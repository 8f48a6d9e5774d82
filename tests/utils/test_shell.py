"""Commands that are shown can be typed again."""
import sys

from mmvit.utils.shell import as_typed


def test_paths_are_quoted_as_the_shell_takes_them(monkeypatch):
    assert as_typed(['mmvit', 'test', 'my runs/a']) == "mmvit test 'my runs/a'"
    monkeypatch.setattr(sys, 'platform', 'win32')
    assert as_typed(['mmvit', 'test', r'runs\a']) == r'mmvit test runs\a'
    assert as_typed(['mmvit', 'test', r'my runs\a']) == r'mmvit test "my runs\a"'
