"""Tests `mmvit weights list` and `download --check`; tests/zoo tests the downloads."""
import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS

from mmvit_backbones.zoo.download import cached_file
from mmvit_backbones.zoo.weights import WEIGHTS


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    return tmp_path


def test_list_shows_cached_and_missing_weights(run, home):
    cached_file(WEIGHTS['rest_lite']).write_bytes(b'file')
    table = run('weights list', 'rest_lite', 'restv2_tiny', 'swin_vsa_tiny', 'vitae_base_22k')
    rows = {tuple(line.split()[:2]): line for line in table.splitlines() if line}
    assert 'cached' in rows['rest_lite', '224'] and 'missing' in rows['vitae_base', '22k']
    assert 'by hand' in rows['restv2_tiny', '384']
    assert 'https://pan.baidu.com/s/1fEMs_OrDa_xF7Cw1DiBU9w (code rest)' in rows['restv2_tiny', '384']
    assert 'top1 83.7' in rows['restv2_tiny', '384'] and 'not published' in rows['swin_vsa_tiny', '-']
    assert rows['folder:', str(home)]


def test_check_verifies_cached_files(run, home, capsys):
    weights = fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32)
    path = cached_file(WEIGHTS['vitae_tiny'])
    torch.save(weights, path)
    assert run('weights download', 'vitae*', '--check') == f'{path}: matches vitae_tiny\n'
    assert path.with_name(f'{path.name}.sha256').exists()
    path.write_bytes(b'something else')
    with pytest.raises(SystemExit):
        run('weights download', 'vitae*', '--check')
    assert 'has changed since it was first loaded' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    (['reswin_huge'], 'matches reswin_huge'), ([], 'PATTERN'),
    (['swin_vsa_tiny'], 'match swin_vsa_tiny have no published weights'),
    (['restv2_tiny', 'swin_vsa_tiny'], '4 of 4 checkpoints could not be downloaded')])
def test_mistakes_are_reported(run, home, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run('weights download', *arguments)
    assert message in capsys.readouterr().err
