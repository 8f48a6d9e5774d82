"""Tables have the columns of all rows."""
from mmvit.utils.tables import as_markdown


def test_columns_that_have_a_value():
    rows = [dict(network='a', ms=1234.5, file=None), dict(network='b', error='x', images=1200, ratio=0.12345)]
    assert as_markdown(rows).splitlines() == [
        '| network | ms | error | images | ratio |', '| --- | --- | --- | --- | --- |', '| a | 1,234 |  |  |  |',
        '| b |  | x | 1,200 | 0.1235 |']
