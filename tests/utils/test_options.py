"""Keys, types and ranges of config options are checked."""
import pytest
import torch
from helpers import raises
from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.options import check_option

MINIMUMS = dict(batch_size=1, num_workers=0, prefetch_factor=1, max_epochs=1, max_iters=1, val_interval=1, val_begin=0,
                seed=0, accumulative_counts=1, num_classes=1)
LOADER = dict(batch_size=4, num_workers=2, dataset=dict(type='ImageNet', split='val'))


def config(**parts) -> Config:
    return Config(dict(dict(
        default_scope='mmpretrain', train_dataloader=LOADER, train_cfg=dict(by_epoch=True, max_epochs=3),
        model=dict(type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=3)), plain=dict(color='red'),
        optim_wrapper=dict(clip_grad=dict(max_norm=1.), optimizer=dict(type=torch.optim.SGD, lr=0.1)),
        param_scheduler=[dict(type='LinearLR', end=3), dict(type='CosineAnnealingLR', begin=3)],
        randomness=dict(seed=None)), **parts))


@pytest.mark.parametrize('key, value', [
    ('compile', True), ('work_dir', 'here'), ('model_wrapper_cfg.bucket_cap_mb', 3), ('randomness.seed', 2**32 - 1),
    ('randomness.seed', None), ('randomness.deterministic', True), ('train_dataloader.pin_memory', True),
    ('train_dataloader.collate_fn', dict(type='x')), ('train_cfg.val_begin', 2), ('train_cfg.max_iters', 2),
    ('train_cfg.by_epoch', False), ('optim_wrapper.clip_grad.norm_type', 2), ('optim_wrapper.clip_grad.type', 'value'),
    ('optim_wrapper.optimizer.momentum', 0.9), ('optim_wrapper.optimizer.paramwise_cfg', {}), ('plain.shape', 'round'),
    ('model.head.topk', 1), ('model.head.init_cfg', {}), ('model.head.type', 'StackedLinearClsHead'),
    ('model.head.type', 'mine.Head'), ('param_scheduler.1.begin', 4), ('param_scheduler.0.end', 2),
    ('train_dataloader.dataset.data_root', 'data')])
def test_options_that_are_accepted(key, value):
    check_option(config(), key, value)


@pytest.mark.parametrize('key, value, words', [
    ('colour', 1, ['the config has no colour']), ('self', 1, ['has no self']),
    ('modle.head.topk', 1, ['modle', 'model']),
    ('model_wrapper_cfg.a.b', 3, ['model_wrapper_cfg has no a']), ('randomness.zzz', 1, ['randomness has no zzz']),
    ('randomness.seed', 2**32, ['below 2**32', 2**32]), ('train_dataloader.zzz', 1, ['train_dataloader has no zzz']),
    ('train_cfg.zzz', 1, ['train_cfg has no zzz', 'max_epochs']), ('plain.colour', 1, ['plain has no colour', 'color']),
    ('optim_wrapper.clip_grad.clip_value', 1, ['clip_grad has no clip_value']),
    ('optim_wrapper.clip_grad.zzz', 1, ['clip_grad has no zzz']),
    ('optim_wrapper.optimizer.zzz', 1, ['optim_wrapper.optimizer has no zzz', 'momentum']),
    ('model.head.type', 'LinearClsHed', ['LinearClsHed is not registered', 'LinearClsHead']),
    ('param_scheduler.2', {}, ['param_scheduler has no 2', '0, 1']),
    ('param_scheduler.2.end', 3, ['param_scheduler has no 2', '0, 1']),
    ('param_scheduler.0.end.x', 3, ['param_scheduler.0.end is 3 and has no x']),
    ('default_scope.x', 3, ["default_scope is 'mmpretrain' and has no x"]),
    ('model.zzz.x', 3, ['model has no zzz', 'head, type'])])
def test_options_that_are_refused(key, value, words):
    with raises(UsageError, f'option {key}', *words):
        check_option(config(), key, value)


def test_arguments_depend_on_the_type():
    clip_grad = dict(type='value', clip_value=1.)
    cfg = config(optim_wrapper=dict(clip_grad=clip_grad), train_cfg=dict(type='IterBasedTrainLoop'))
    check_option(cfg, 'optim_wrapper.clip_grad.foreach', True)
    check_option(cfg, 'train_cfg.max_iters', 3)
    for key in 'optim_wrapper.clip_grad.norm_type', 'train_cfg.max_epochs':
        with raises(UsageError, key, 'has no'):
            check_option(cfg, key, 3)


@pytest.mark.parametrize('name, least', MINIMUMS.items())
def test_minimum_of_integers(name, least):
    cfg = config(part={name: 7, 'missing': {name: None}})
    check_option(cfg, f'part.{name}', least)
    check_option(cfg, f'part.missing.{name}', None)
    for value in least - 1, 2.5, True, None, 'a':
        with raises(UsageError, f'part.{name}', f'integer of at least {least}', repr(value)):
            check_option(cfg, f'part.{name}', value)


@pytest.mark.parametrize('before, after', [
    (1, 2.5), (2.5, 1), ([1], (2, )), ((2, ), []), ([1], 2), (1, [2]), ('a', ['b']), (['a'], 'b'), (None, 3), (3, None),
    (True, False), ({}, dict(a=1)), ('a', 'b')])
def test_types_that_agree(before, after):
    check_option(config(part=dict(x=before)), 'part.x', after)


@pytest.mark.parametrize('before, after, kind', [
    (True, 1, 'a boolean'), (1, True, 'a number'), ('a', 1, 'a string'), (1, 'a', 'a number'), ({}, [], 'a dict'),
    ([], {}, 'a list'), ('a', {}, 'a string'), (True, 'a', 'a boolean'), (False, None, None)])
def test_types_that_differ(before, after, kind):
    cfg = config(part=dict(x=before))
    if kind is None:
        return check_option(cfg, 'part.x', after)
    with raises(UsageError, 'part.x', f'must be {kind} like {before!r}', f'got {after!r}'):
        check_option(cfg, 'part.x', after)
