"""`mmvit models` lists networks."""
import json

import pytest


def test_list_of_networks(run):
    rows = {row['name']: row for row in json.loads(run('models', 'res*', '--json'))}
    assert rows['reswin_tiny']['parameters'] == 28_288_354 and rows['reswin_tiny']['top1'] == 81.5
    assert rows['restv2_tiny']['weights']['384'] == 'browser' and 'vitae_tiny' not in rows
    assert '224 (browser), 384 (browser)' in run('models', 'restv2_large')


def test_an_unknown_network_is_reported_in_one_line(run, capsys):
    with pytest.raises(SystemExit):
        run('models', 'resnet50')
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith('error: ') and 'resnet50' in error and 'reswin_tiny' in error
