"""`mmvit config show` prints configs."""
import pytest
from helpers import ROOT, raises
from mmengine.config import Config
from subcommands import module_of, parser_of

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import load_config

TOOL = vars(module_of('config show'))


def call(*arguments):
    TOOL['main'](parser_of('config show').parse_args([str(argument) for argument in arguments]))


@pytest.mark.slow
def test_inherited_settings_are_printed(capsys, tmp_path):
    config = ROOT / 'configs/mask_rcnn_reswin_t.py'
    call(config, '--cfg-options', 'model.backbone.drop_path_rate=0.3')
    (tmp_path / 'printed.py').write_text(capsys.readouterr().out)
    printed = Config.fromfile(tmp_path / 'printed.py')
    assert printed.model.backbone.pop('drop_path_rate') == 0.3
    expected = Config.fromfile(config)
    expected.model.backbone.pop('drop_path_rate', None)
    assert printed.to_dict() == expected.to_dict()


def test_written_configs_can_be_loaded(tmp_path):
    call('upernet_reswin_t', '-o', tmp_path / 'resolved.py')
    assert load_config(str(tmp_path / 'resolved.py')).to_dict() == load_config('upernet_reswin_t').to_dict()


@pytest.mark.parametrize('option, words', [
    ('model.backbone.arch=huge', ['arch', 'huge', 'tiny']),
    ('modle.neck.type=FPN', ['modle']),
])
def test_mistakes_are_reported(option, words):
    with raises(UsageError, *words):
        call(ROOT / 'configs/mask_rcnn_reswin_t.py', '--cfg-options', option)
