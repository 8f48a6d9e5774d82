"""`mmvit benchmark` and `mmvit flops` print tables; options of networks are refused for configs."""
import pytest
from helpers import raises
from subcommands import call

from mmvit_backbones.errors import UsageError

SMALL = '--size', '32', '32', '--repeats', '1', '--batch-size', '2'


@pytest.mark.parametrize('arguments, words', [
    (['benchmark', 'upernet_reswin_t', option, *values], [option, 'configs'])
    for option, *values in (['--baseline', 'reswin_tiny'], ['--dense'])])
def test_options_that_exclude_each_other(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, *words):
        call(*arguments)


@pytest.mark.slow
def test_outputs(run):
    table = run('benchmark', 'rest_lite', '--baseline', 'rest_lite', *SMALL, '--precision', 'bfloat16').splitlines()
    assert 'bfloat16' in table[0] and 'saved_ratio' in table[2] and table[-1].startswith('| rest_lite | ')
    header, _, row = run('flops', 'rest_lite', '--backbone', '--size', '64', '96').splitlines()
    assert header.startswith('| name | height | width |') and row.startswith('| rest_lite | 64 | 96 |')
