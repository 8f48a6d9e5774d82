"""`mmvit models` lists networks."""
import json


def test_list_of_networks(run):
    rows = {row['name']: row for row in json.loads(run('models', 'res*', '--json'))}
    assert rows['reswin_tiny']['parameters'] == 28_288_354 and rows['reswin_tiny']['top1'] == 81.5
    assert rows['restv2_tiny']['weights']['384'] == 'browser' and 'vitae_tiny' not in rows
    assert '224 (browser), 384 (browser)' in run('models', 'restv2_large')


