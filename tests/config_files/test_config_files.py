"""Configs are found, read, checked and changed by options."""
import json
import sys

import pytest
import torch
from helpers import raises
from mmengine.config import Config

from mmvit.configs.files import find_config, is_config, read_config
from mmvit.naming import path_hint
from mmvit.running.run_folder import RunFolder
from mmvit.utils.config_parts import datasets_of
from mmvit_backbones.errors import CheckpointError, UsageError

CLASSIFIER, DETECTOR = 'imagenet_reswin_t', 'mask_rcnn_reswin_t'


def test_a_name_is_one_of_the_packages_configs_or_a_file(tmp_path, monkeypatch):
    assert find_config(CLASSIFIER).endswith(f'configs/{CLASSIFIER}.py')
    with raises(UsageError, 'imagenet_reswin_x', CLASSIFIER):
        find_config('imagenet_reswin_x')
    monkeypatch.chdir(tmp_path)
    assert is_config(CLASSIFIER) and is_config('NET.PY') and is_config('net.yml')
    assert not is_config('epoch_1.pth')
    (tmp_path / CLASSIFIER).write_bytes(b'weights')
    assert find_config(CLASSIFIER).endswith('.py') and is_config(CLASSIFIER)
    assert not is_config(f'./{CLASSIFIER}') and f'./{CLASSIFIER}' in path_hint(CLASSIFIER)


def test_the_config_beside_a_checkpoint_is_found(tmp_path):
    checkpoint = str(tmp_path / 'epoch_1.pth')
    with raises(CheckpointError, checkpoint, 'does not exist'):
        RunFolder.open(checkpoint)
    torch.save(dict(state_dict={}, meta={}), checkpoint)
    (tmp_path / 'last_checkpoint').write_text(checkpoint)
    for path in checkpoint, 'official://rest_lite':
        with raises(UsageError, path, 'no config', '--config'):
            RunFolder.open(path)
    (tmp_path / 'train.py').write_text('print(1)')  # a program, which must not run
    (tmp_path / 'notes.py').write_text('not Python')
    with raises(UsageError, checkpoint, 'no config', 'train.py', 'notes.py', '--config'):
        RunFolder.open(checkpoint)
    (tmp_path / 'reswin.py').write_text('# of a training\ndefault_scope = "mmpretrain"\n')
    for source in checkpoint, str(tmp_path):
        assert RunFolder.open(source).config.filename == str(tmp_path / 'reswin.py')
    (tmp_path / 'rest.py').touch()
    with raises(UsageError, checkpoint, 'reswin.py', 'rest.py', '--config'):
        RunFolder.open(checkpoint)


@pytest.mark.parametrize('change, needs, words', [
    (dict(default_scope='mmthing'), (), ['mmthing', 'not installed']),
    (dict(model=3), ('model', ), ['model must be a dict', 3]),
    (dict(), ('model', ), ['model must be a dict', None]),
    (dict(val_dataloader=[1]), (), ['val_dataloader must be a dict', '[1]']),
    (dict(val_dataloader=dict(dataset=7)), (), ['val_dataloader.dataset', 7]),
    (dict(val_evaluator=3), ('val_evaluator', ), ['val_evaluator', 3]),
    (dict(model=[1]), ('model', ), ['model must be a dict', '[1]'])], ids=str)
def test_missing_and_wrong_entries_are_named(change, needs, words, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(dict(dict(default_scope='mmpretrain'), **change)))
    with raises(UsageError, path, *words):
        read_config(str(path), needs=needs)


def test_a_framework_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    (tmp_path / 'a.json').write_text('{"default_scope": "mmseg"}')
    with raises(UsageError, 'a.json needs mmseg', 'not installed'):
        read_config(str(tmp_path / 'a.json'))


def test_data_sets_are_found_in_wrappers():
    one, two, three = ({'type': name} for name in 'abc')
    repeated = dict(type='RepeatDataset', dataset=dict(datasets=[two, three]))
    wrapped = dict(type='ConcatDataset', datasets=[one, repeated])
    cfg = Config(dict(train_dataloader=dict(dataset=wrapped)))
    assert datasets_of(cfg, 'train') == [one, two, three] and datasets_of(cfg, 'val') == []
