"""`mmvit config show` prints configs, and reports misspelled types."""
import json
import re
from functools import partial
from importlib.util import find_spec

import pytest
import yaml
from helpers import ROOT, raises
from mmengine.config import Config
from verbs import module_of

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import load_config, restore_tuples

LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
TOOL = vars(module_of('config show'))


def call(*arguments):
    TOOL['main'](TOOL['get_parser']().parse_args([str(argument) for argument in arguments]))


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


@pytest.mark.slow
def test_configs_are_unchanged_after_writing_and_reading(tmp_path):
    """Writes one config per base config as JSON and as YAML."""
    bases = {re.search(r"_base_ = (\[?'.*?')", path.read_text())[1]: path for path in sorted(ROOT.glob('configs/*.py'))}
    for path in bases.values():
        if path.stem.startswith('pose') and find_spec('mmpose') is None:
            continue  # the only optional framework
        config = load_config(str(path))
        for kind, read in (('json', json.loads), ('yaml', partial(yaml.load, Loader=LOADER))):
            assert restore_tuples(read(TOOL['write'](config, kind))) == config.to_dict(), f'{path.name} as {kind}'


@pytest.mark.parametrize('kind', ['json', 'yaml', 'yml'])
def test_written_configs_can_be_loaded(tmp_path, kind):
    call(ROOT / 'configs/upernet_reswin_t.py', '-o', tmp_path / f'resolved.{kind}')
    read = load_config(str(tmp_path / f'resolved.{kind}'))
    assert read.to_dict() == load_config(str(ROOT / 'configs/upernet_reswin_t.py')).to_dict()
    assert read.train_dataloader.dataset.pipeline[2].scale == (2048, 512)


def test_tuples_are_inherited_from_yaml(tmp_path):
    (tmp_path / 'base.yaml').write_text(TOOL['write'](load_config('upernet_reswin_t'), 'yaml'))
    (tmp_path / 'own.py').write_text("_base_ = 'base.yaml'")
    assert load_config(str(tmp_path / 'own.py')).to_dict() == load_config('upernet_reswin_t').to_dict()


@pytest.mark.parametrize('option, words', [
    ('model.neck.type=PFN', ['model.neck.type', 'PFN']),
    ('model.backbone.arch=huge', ['arch', 'huge', 'tiny']),
    ('modle.neck.type=FPN', ['modle']),
])
def test_mistakes_are_reported(option, words):
    with raises(UsageError, *words):
        call(ROOT / 'configs/mask_rcnn_reswin_t.py', '--cfg-options', option)


@pytest.mark.parametrize('name', ['cascade_mask_rcnn_reswin_t', 'upernet_vitaev2_s_cityscapes', 'retinanet_regionvit_s',
                                  'imagenet_refiner_vit_s'])
def test_types_of_our_configs_are_known(name, capsys):
    call(ROOT / f'configs/{name}.py')
    assert 'backbone' in capsys.readouterr().out
