"""Problems in at least half of the data are errors."""
import pytest
from helpers import raises

from mmvit.folders.problems import check_share, some
from mmvit_backbones.errors import UsageError


def test_half_of_the_checks_decides(capsys):
    check_share([], 0, 'rule')
    check_share(['a'], 3, 'rule')
    assert capsys.readouterr().err == 'warning: a; 1 of 3 checks failed: rule\n'
    with raises(UsageError, 'a; 1 of 2 checks failed: rule'):
        check_share(['a'], 2, 'rule')


def test_warnings_are_printed_once(capsys, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    check_share(['a'], 3, 'rule')
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize('values, text', [([7], '7'), ([1, 2, 3], '1, 2, 3'), ([*range(5)], '0, 1, 2 and 2 more')])
def test_three_values_are_named(values, text):
    assert some(values) == text
