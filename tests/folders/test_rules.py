"""Tables of rules: severities, shares, repairs, and what is said."""
import pytest
from helpers import raises

from mmvit.folders.rules import Problem, Rule, apply, raise_or_warn
from mmvit_backbones.errors import UsageError


class Numbers:
    """Numbers that must be even; 3 cannot be repaired."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)


def find(data: Numbers) -> list[int]:
    return [i for i, number in enumerate(data.numbers) if number % 2]


def repair(data: Numbers, found: list[int]) -> None:
    for i in found:
        data.numbers[i] += data.numbers[i] != 3


def rule(**options) -> Rule:
    return Rule('odd numbers', 'numbers', find, '{count} of {total} are odd: {ids}', **options)


@pytest.mark.parametrize('training, share, numbers, is_error', [
    ('error', None, [1, 2, 2, 2], True), ('warning', None, [1, 1], False), ('warning', .5, [1, 2, 2], False),
    ('warning', .5, [1, 2], True), ('warning', 1., [1, 1, 2], False), ('warning', 1., [1, 1], True)])
def test_the_share_decides(training, share, numbers, is_error):
    table = [rule(training=training, evaluation='', error_from=share)]
    (_, found), = apply(table, Numbers(*numbers), is_evaluated=False)
    assert found == is_error and not apply(table, Numbers(*numbers), is_evaluated=True)


def test_three_entries_are_named():
    (text, _), = apply([rule()], Numbers(1, 3, 5, 7, 9, 8), is_evaluated=True)
    assert text == '5 of 6 are odd: 1, 3, 5 and 2 more'
    assert len(apply([rule(each=True)], Numbers(1, 3, 5), is_evaluated=True)) == 3


def test_a_warning_is_about_entries_that_no_other_rule_has_found():
    found = apply([rule(), rule(training='warning')], Numbers(1, 2, 2), is_evaluated=False)
    assert [problem.is_error for problem in found] == [True]


def test_what_remains_after_a_repair_is_a_problem():
    data, said = Numbers(1, 3, 4), []
    (text, _), = apply([rule(repair=repair)], data, is_evaluated=False, repairs=said)
    assert data.numbers == [2, 3, 4] and said == ['odd numbers (2 numbers)'] and '1 of 3 are odd: 3' in text
    (text, _), = apply([rule(repair=repair)], Numbers(1), is_evaluated=False)  # only where repairs are allowed
    assert '--coco-folder repairs it' in text


def test_warnings_are_printed_once(capsys, monkeypatch):
    raise_or_warn([Problem('a', False)])
    assert capsys.readouterr().err == 'warning: a\n'
    with raises(UsageError, 'b (error 1 of 2'):
        raise_or_warn([Problem('a', False), Problem('b', True), Problem('c', True)])
    monkeypatch.setenv('RANK', '1')
    raise_or_warn([Problem('a', False)])
    assert capsys.readouterr() == ('', '')
