"""`mmvit benchmark` and `mmvit flops` print tables; options of networks are refused for configs."""
import pytest

SMALL = '--size', '32', '32', '--repeats', '1', '--batch-size', '2'


@pytest.mark.slow
def test_outputs(run):
    table = run('benchmark', 'rest_lite', '--baseline', 'rest_lite', *SMALL, '--precision', 'bfloat16').splitlines()
    assert 'bfloat16' in table[0] and 'saved_ratio' in table[2] and table[-1].startswith('| rest_lite | ')
    header, _, row = run('flops', 'rest_lite', '--backbone', '--size', '64', '96').splitlines()
    assert header.startswith('| name | height | width |') and row.startswith('| rest_lite | 64 | 96 |')
