"""Configs in files are parsed and never executed."""
import pytest
from mmengine.config import Config

from mmvit_backbones.utils.file_configs import MAX_TEXT, dicts_in, dicts_with_paths, format_config, parse_config

CONFIG = dict(
    default_scope='mmpretrain', custom_imports=dict(imports=['mmvit_backbones']),
    model=dict(type='ImageClassifier', backbone=dict(type='ReSwin', init_cfg=dict(
        type='Pretrained', checkpoint='official://reswin_tiny')), head=dict(type='LinearClsHead')),
    test_dataloader=dict(dataset=dict(type='ImageNet', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='mmpretrain.ResizeEdge', scale=256), dict(type='PackInputs')])))
# Texts that create the file `canary` if executed, or that are not plain configs.
TEXTS = ['import os\nos.system("touch canary")', 'model = open("canary", "w")', 'model = [open("canary", "w")]',
         'model = dict(a=open("canary", "w"))', 'model = (lambda: open("canary", "w"))()',
         '_base_ = "evil.py"\nmodel = _base_', '(' * 5000, 'model = dict(**open("canary", "w"))',
         'model = dict(**{"a": 1})', 'model.a = 1', f'model = [{"1, " * 2**19}]', 'model = dict([("a", 1)])',
         'model = dict({"a": 1}, {"b": 2})', 'a.model = dict(b=1)', 'model = list({"a": 1})',
         'model = types.dict(a=1)', 'model = print', 'model += 1', 'model', 'model = dict(a)', 'model = other = 1',
         'model, = (1, )']
# Valid values that would become code if they were not escaped. MMEngine does not escape the key in the first value.
UNESCAPED = [{"a': open('canary', 'w'), 'b": 1}, {'a\nopen("canary", "w")': 1}, {1: '"\'+open("canary", "w")+\'"'}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Provides a current folder with a module that creates `canary` if executed; checks that no canary was created."""
    (tmp_path / 'evil.py').write_text('open("canary", "w")')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    assert not (tmp_path / 'canary').exists()


@pytest.mark.parametrize('text', TEXTS, ids=range(len(TEXTS)))
def test_code_in_a_text_is_refused(text, folder):
    with pytest.raises(ValueError):
        parse_config(text)


@pytest.mark.parametrize('text, word', [('model = (', 'never closed'), ('model = ' + '-' * 100000 + '1', 'Error')])
def test_errors_say_what_is_wrong(text, word):
    with pytest.raises(ValueError, match=word):
        parse_config(text)


def test_plain_config_is_read_as_by_mmengine(folder):
    assert parse_config(Config(CONFIG).pretty_text) == CONFIG
    assert Config.fromstring(format_config(CONFIG), '.py').to_dict() == CONFIG


@pytest.mark.parametrize('text, value', [
    ('dict()', {}), ('dict({"a": 1}, b=2)', dict(a=1, b=2)), ('[inf, -inf]', [float('inf'), -float('inf')]),
    ('dict(a=dict(b=(1, )))', dict(a=dict(b=(1, ))))])
def test_values_that_are_plain(text, value):
    assert parse_config(f'model = {text}\nother = 1') == dict(model=value, other=1)


def test_maximum_length_of_a_text():
    text = f'model = "{"x" * (2**20 - 10)}"'
    assert len(text) == MAX_TEXT == 2**20 and len(parse_config(text)['model']) == 2**20 - 10
    with pytest.raises(ValueError, match='1048577 characters'):
        parse_config(f'{text} ')


def test_dicts_in_lists_and_dicts_are_found():
    inner, outer = dict(c=1), dict(d='text')
    config = dict(a=[3, inner], b=(outer, ))
    assert list(dicts_with_paths(config)) == [('', config), ('a.1.', inner), ('b.0.', outer)]
    assert list(dicts_in([config])) == [config, inner, outer]


@pytest.mark.parametrize('value', UNESCAPED, ids=range(len(UNESCAPED)))
def test_formatted_values_are_escaped(value, folder):
    config = dict(CONFIG, model=dict(CONFIG['model'], train_cfg=value))
    text = format_config(config)
    assert Config.fromstring(text, '.py').to_dict() == config and parse_config(text) == config


@pytest.mark.parametrize('template', ['{{ fileDirname }}', '{{$HOME:x}}', '{{_base_.model}}'])
def test_templates_of_mmengine_are_refused(template):
    with pytest.raises(ValueError, match='template'):
        format_config(dict(model=dict(type=template)))
