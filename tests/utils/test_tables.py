"""Tables have the columns of all rows."""
import csv

from mmvit.utils.tables import as_markdown, write_csv


def test_columns_that_have_a_value(tmp_path):
    rows = [dict(network='a', ms=1234.5, file=None), dict(network='b', error='x', images=1200, ratio=0.12345)]
    assert as_markdown(rows).splitlines() == [
        '| network | ms | error | images | ratio |', '| --- | --- | --- | --- | --- |', '| a | 1,234 |  |  |  |',
        '| b |  | x | 1,200 | 0.1235 |']
    write_csv(rows, tmp_path / 'a.csv')
    first, second = csv.DictReader((tmp_path / 'a.csv').read_text().splitlines())
    assert first == dict(network='a', ms='1234.5', error='', images='', ratio='') and second['images'] == '1200'
