"""Misspelled keys of config options are errors."""
import pytest
from helpers import raises
from mmengine.config import Config

from mmvit.configs.options import check_option
from mmvit_backbones.errors import UsageError

CONFIG = Config(dict(
    train_dataloader=dict(batch_size=4, dataset=dict(type='ImageNet')), model=dict(head=dict(num_classes=3)),
    param_scheduler=[dict(type='LinearLR', end=3), dict(type='CosineAnnealingLR')], default_scope='mmpretrain'))


@pytest.mark.parametrize('key', [
    'compile', 'work_dir', 'model_wrapper_cfg.bucket_cap_mb', 'randomness.seed', 'train_dataloader.pin_memory',
    'model.head.topk', 'param_scheduler.1.begin', 'param_scheduler.0.end', 'train_dataloader.dataset.data_root'])
def test_keys_may_be_missing_in_the_config(key):
    check_option(CONFIG, key)


@pytest.mark.parametrize('key, words', [
    ('colour', ['the config has no colour']), ('self', ['has no self']), ('modle.head.topk', ['modle', 'model']),
    ('train_dataloader.batch_sise', ['train_dataloader has no batch_sise', 'batch_size']),
    ('model.haed.topk', ['model has no haed', 'head']), ('model.zzz.x', ['model has no zzz', 'head']),
    ('param_scheduler.2.end', ['param_scheduler has no 2', '0, 1']),
    ('model.head.num_classes.x', ['model.head.num_classes is 3 and has no x']),
    ('default_scope.x', ["default_scope is 'mmpretrain' and has no x"])])
def test_misspelled_keys_are_refused(key, words):
    with raises(UsageError, f'option {key}', *words):
        check_option(CONFIG, key)


@pytest.mark.parametrize('value', [3, '{'])
def test_dicts_are_not_replaced_by_text_or_numbers(value):
    with raises(UsageError, 'option model', str(value), 'model.head.NAME=VALUE'):
        check_option(CONFIG, 'model.head', value)
    check_option(CONFIG, 'model.head', dict(num_classes=4))
    check_option(CONFIG, 'model.head', None)
    check_option(CONFIG, 'model.head.num_classes', value)
