"""`mmvit config` prints and copies configs."""
import pytest
from helpers import ROOT, raises
from mmengine.config import Config
from subcommands import call

from mmvit.configs.files import read_config
from mmvit_backbones.errors import UsageError


@pytest.mark.slow
def test_inherited_settings_are_printed(capsys, tmp_path):
    config = ROOT / 'configs/mask_rcnn_reswin_t.py'
    call('config show', config, '--cfg-options', 'model.backbone.drop_path_rate=0.3')
    (tmp_path / 'printed.py').write_text(capsys.readouterr().out)
    printed = Config.fromfile(tmp_path / 'printed.py')
    assert printed.model.backbone.pop('drop_path_rate') == 0.3
    expected = Config.fromfile(config)
    expected.model.backbone.pop('drop_path_rate', None)
    assert printed.to_dict() == expected.to_dict()


def test_copies_can_be_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = read_config('upernet_reswin_t').to_dict()
    for options in [], ['deep/changed.py', '--cfg-options', 'train_cfg.val_interval=7']:
        call('config copy', 'upernet_reswin_t', *options)
    assert read_config('upernet_reswin_t.py').to_dict() == expected
    assert read_config('deep/changed.py').train_cfg.val_interval == 7
    with raises(UsageError, 'upernet_reswin_t.py', 'exists'):
        call('config copy', 'upernet_reswin_t')
    with raises(UsageError, 'a.txt', '.py'):
        call('config copy', 'upernet_reswin_t', 'a.txt')


@pytest.mark.parametrize('option, words', [
    ('model.backbone.arch=huge', ['arch', 'huge', 'tiny']),
    ('modle.neck.type=FPN', ['modle']),
])
def test_wrong_options_are_reported(option, words):
    with raises(UsageError, *words):
        call('config show', ROOT / 'configs/mask_rcnn_reswin_t.py', '--cfg-options', option)
