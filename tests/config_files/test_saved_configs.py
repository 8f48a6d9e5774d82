"""Configs that nobody named are values, and build registered classes of the user's environment only."""
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from helpers import raises
from mmengine.config import Config

from mmvit.configs.files import read_config
from mmvit.running.run_folder import RunFolder
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.literals import read_values

MADE = 'made_by_the_config'
CALL = f"__import__('pathlib').Path({MADE!r}).touch()"
BASE = dict(
    default_scope='mmpretrain', model=dict(type='ImageClassifier', backbone=dict(type='ReSwin', arch='tiny')),
    custom_imports=dict(imports=['mmvit_backbones']),
    test_dataloader=dict(
        batch_size=1, collate_fn=dict(type='default_collate'), sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='CustomDataset', data_root='data (1)', metainfo=dict(classes=['bow (weapon)']), pipeline=[
            dict(type='LoadImageFromFile'), dict(type='PackInputs')])),
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', filename_tmpl='step_{}.pth')),
    url='https://example.org', load_from='https://example.org/a.pth', resume=True)


PLACES = pytest.mark.parametrize('place', ['inside', 'beside'])


def saved(folder: Path, place: str, text: str = '', **changes) -> str:
    """Writes a config as MMEngine does, with ``text`` at its end, inside or beside a checkpoint; returns this."""
    cfg = Config(deepcopy(BASE), format_python_code=False)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    folder.mkdir(exist_ok=True)
    text = f'{cfg.pretty_text}\n{text}'
    if place == 'beside':
        (folder / 'config.py').write_text(text)
    torch.save(dict(state_dict={}, meta=dict(cfg=text) if place == 'inside' else {}), folder / 'a.pth')
    return str(folder / 'a.pth')


def read(checkpoint: str) -> Config:
    return RunFolder.open(checkpoint).config


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """Runs in a folder, from which modules are imported, beside a folder with one more such module."""
    (tmp_path / 'own').mkdir()
    (tmp_path / 'run').mkdir()
    for name in 'beside', 'SwinVSA':
        (tmp_path / f'run/{name}.py').write_text(f'import mmengine  # no config\n{CALL}\n')
    (tmp_path / 'run/package').mkdir()
    (tmp_path / 'run/package/registry.py').write_text(CALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / 'run')
    return tmp_path / 'run'


@pytest.mark.parametrize('value', [
    1, -2.5, True, None, 'a', b'a', (1, [2, dict(a=3)]), {1, 2}, {'a.b': dict(c={'d e': 1}), 3: 4}, [float('inf')],
    [-float('inf')], dict(type='a', x=(1, )), set()], ids=str)
def test_what_mmengine_writes_is_read(value, tmp_path):
    (tmp_path / 'a.py').write_text(Config(dict(a=value, b=[value], c=dict(d=value))).pretty_text)
    assert read_values((tmp_path / 'a.py').read_text()) == (dict(a=value, b=[value], c=dict(d=value)), None)


@pytest.mark.parametrize('name', ['imagenet_refiner_vit_s', 'mask_rcnn_reswin_t', 'upernet_vitae_s'])
def test_saved_configs_have_the_values_that_they_had(name, tmp_path, frameworks):
    cfg = read_config(name)
    torch.save(dict(state_dict={}, meta=dict(cfg=cfg.pretty_text)), tmp_path / 'a.pth')
    found = read(str(tmp_path / 'a.pth')).to_dict()
    start = found['model']['backbone'].pop('init_cfg', None)
    assert start is None and found['test_dataloader'] == cfg.to_dict()['test_dataloader']
    assert found['model']['backbone'].items() <= cfg.to_dict()['model']['backbone'].items()


@pytest.mark.parametrize('text', [
    f'a = {CALL}', CALL, f'a = [{CALL}]', f'a = dict(b={CALL})', f'a = {{{CALL}: 1}}', f'a: {CALL} = 1',
    'import beside', "_base_ = 'beside.py'", f'a = f"{{{CALL}}}"', f'a = (lambda: 1, {CALL})', f'a = dict(**{CALL})',
    f'a = -{CALL}', f'a[{CALL}] = 1', f'def a(b={CALL}): pass', f'a = 1 if {CALL} else 2',
    'a = dict({1: 2}, 3)', 'a = {**dict()}',
    f'a = {{"b\': {CALL}, \'c": 1}}', 'a = model', 'a = 1 + 1', 'a = b = 1'])
@PLACES
def test_more_than_values_is_left_alone(place, text, evil):
    with raises(UsageError, 'config.py' if place == 'beside' else 'a.pth', 'values', 'line', '--config'):
        read(saved(evil, place, text))
    assert not Path(MADE).exists()


@pytest.mark.parametrize('changes', [
    dict(model__neck=dict(type='subprocess.getoutput', cmd=f'touch {MADE}')),
    dict(model__neck=dict(type='beside')), dict(model__neck=dict(type='beside.Thing')),
    dict(test_evaluator=dict(type='SwinVSA')), dict(model__neck=dict(type='mmpretrain.models.build_backbone')),
    dict(model__neck=dict(type='package.Thing')), dict(model__neck=dict(type='torch.hub.load', repo_or_dir='.')),
    dict(model__neck=dict(type='antigravity')), dict(model__neck=dict(type='antigravity.geohash')),
    dict(model__neck=dict(type='mmengine.fileio.load')), dict(model__neck=dict(type='NoSuchNeck')),
    dict(model__neck=dict(_scope_='package', type='ReSwin')), dict(model__neck=dict(_scope_='os', type='ReSwin')),
    dict(model__neck=[dict(type='ReSwin', x=[[dict(type='os.system')]])]),
    dict(model__head__test_cfg__nms=dict(type=CALL)), dict(model__neck=dict(type='mmpretrain.datasets.x.Thing')),
    dict(model__neck=dict(type='mmpretrain.ImageClassificationInferencer', model='a')),
    dict(model__neck=dict(type='mmpretrain.apis.ImageClassificationInferencer', model='a')),
    dict(test_dataloader__collate_fn=dict(type='subprocess.getoutput')),
    dict(test_dataloader__worker_init_fn=dict(type='subprocess.getoutput')),
    dict(test_dataloader__dataset__pipeline=[dict(type='builtins.eval')]),
    dict(test_dataloader__dataset__pipeline=[dict(type='torchvision/ConvertImageDtype', dtype=f'float or {CALL}')]),
    dict(test_dataloader__dataset__ann_file='annotations.pkl'), dict(test_dataloader__dataset__ann_file='a.yaml'),
    dict(test_dataloader__dataset__data_root='http://example.org'), dict(test_evaluator=[dict(type='os.system')]),
    dict(custom_hooks=[dict(type='subprocess.run')]), dict(runner_type='subprocess.Popen'),
    dict(optim_wrapper__constructor='os.system'), dict(visualizer__vis_backends=[dict(type='os.system')]),
    dict(model_wrapper_cfg=dict(type='os.system')), dict(tta_model=dict(type='os.system')),
    dict(model__teacher_config='config.json'), dict(model__backbone__trust_remote_code=True),
    *(dict(custom_imports__imports=names) for names in (
        ['beside'], 'beside', ['package.registry'], ['package'], ['os'], ['antigravity'], ['__main__'],
        ['mmengine.__main__'], ['.beside'], ['missing_module'], 3, [['beside']]))], ids=str)
@PLACES
def test_what_is_no_registered_class_of_the_environment_is_refused(place, changes, evil):
    with raises(UsageError, 'config.py' if place == 'beside' else 'a.pth', '--config'):
        read(saved(evil, place, **changes))
    assert not Path(MADE).exists() and not {'beside', 'package', 'antigravity'} & sys.modules.keys()


@pytest.mark.parametrize('name', [
    'mmcv.transforms.LoadImageFromFile', 'mmpretrain.datasets.LoadImageFromFile',
    'mmcv.transforms.loading.LoadImageFromFile'])
def test_a_class_may_have_the_name_of_its_module(name, evil, frameworks):
    """As configs in MMEngine's Python style have it."""
    steps = [dict(type=name), dict(type='mmpretrain.datasets.transforms.PackInputs')]
    cfg = read(saved(evil, 'inside', test_dataloader__dataset__pipeline=steps))
    assert cfg.test_dataloader.dataset.pipeline[0].type == name


@PLACES
def test_own_classes_and_what_replaces_nothing_stay(place, evil, monkeypatch):
    (evil.parent / 'own/own_classes.py').write_text(
        'from mmengine.registry import MODELS\n@MODELS.register_module(force=True)\nclass OwnNeck: pass\n')
    monkeypatch.syspath_prepend(evil.parent / 'own')
    checkpoint = saved(
        evil, place, custom_imports__imports=['own_classes'],
        model__neck=dict(type='OwnNeck', init_cfg=dict(type='Pretrained')),
        model__backbone__pretrained_cfg_overlay=dict(file='weights.pth'),
        model__head=dict(type='OwnNeck', pretrained='https://example.org'))
    cfg = read(checkpoint)
    assert cfg.model.neck == dict(type='OwnNeck', init_cfg=None) and cfg.model.head.pretrained is None
    assert cfg.get('load_from') is None and cfg.test_dataloader.dataset.data_root == 'data (1)'
    if place == 'beside':
        assert read_config(str(evil / 'config.py')).load_from == BASE['load_from']


@pytest.mark.parametrize('scope', ['antigravity', '__main__', 'beside', 'package', 'own.scope', 'test'])
@PLACES
def test_another_scope_is_a_package_of_the_environment(place, scope, evil):
    with pytest.raises(UsageError):
        read(saved(evil, place, default_scope=scope))
    assert not Path(MADE).exists() and not {'beside', 'package', 'antigravity'} & sys.modules.keys()
