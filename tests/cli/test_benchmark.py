"""`mmvit benchmark` and `mmvit flops` print tables; options of networks are refused for configs, and vice versa."""
import csv
import json

import pytest
from helpers import raises
from subcommands import call

from mmvit_backbones.errors import UsageError

SMALL = '--size', '32', '32', '--repeats', '1', '--batch-size', '2'


@pytest.mark.parametrize('arguments, words', [
    (['benchmark', 'rest_lite', '--objects', '3'], ['--objects', 'networks']),
    *[(['benchmark', 'upernet_reswin_t', option, *values], [option, 'configs'])
      for option, *values in (['--baseline', 'reswin_tiny'], ['--dense'])]])
def test_options_that_exclude_each_other(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, *words):
        call(*arguments)


def test_an_error_is_one_line(run, capsys):
    with pytest.raises(SystemExit):
        run('benchmark', 'reswin_tiny', '--baseline', 'torch:x')
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith('error: ') and 'baseline' in error and 'torch:x' in error


@pytest.mark.slow
def test_outputs(run, tmp_path):
    table = run('benchmark', 'rest_lite', '--baseline', 'rest_lite', '--memory-only', *SMALL)
    assert 'saved_ratio' in table and 'forward_ms' not in table
    table = run('benchmark', 'rest_lite', '--baseline', 'rest_lite', '--kernels', 'reference', *SMALL,
                '--precision', 'bfloat16', '--csv', str(tmp_path / 'a.csv'))
    assert '| rest_lite | eager | reference |' in table and 'bfloat16' in table.splitlines()[0]
    first, row = csv.DictReader((tmp_path / 'a.csv').read_text().splitlines())
    assert (first['kernels'], row['kernels'], row['saved_ratio']) == ('default', 'reference', '1.0')
    assert float(row['forward_ms']) > 0 and float(row['step_ms']) > 0
    row, = json.loads(run('flops', 'rest_lite', '--json', '--backbone', '--size', '64', '96'))
    assert row['name'] == 'rest_lite' and row['height'] == 64
    header, _, row = run('flops', 'rest_lite', '--backbone', '--size', '64', '96').splitlines()
    assert header.startswith('| name | height | width |') and row.startswith('| rest_lite | 64 | 96 |')
