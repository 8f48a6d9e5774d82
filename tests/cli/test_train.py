"""`mmvit train` before its first step: options of the two doors, and `--check`."""
import re
import tempfile
from inspect import signature
from pathlib import Path

import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend
from runs import TINY
from subcommands import call, parser_of

from mmvit.configs.files import named_configs
from mmvit.recipes import fine_tune
from mmvit.running import shorthand_options, training_config
from mmvit_backbones.errors import UsageError

CONFIGS = dict(mmpretrain='imagenet_reswin_t', mmdet='mask_rcnn_reswin_t', mmseg='upernet_reswin_t_camvid')
FLOWERS = str(ROOT / 'data/flowers_mini')
SHALLOW = """
_base_ = {!r}
arch = dict(
    _delete_=True, embed_dims=96, depths=[1, 1, 1, 1], num_heads=[3, 6, 12, 24], window_size=7, mlp_ratio=1)
model = dict(backbone=dict(arch=arch))
"""


def config_of(framework: str, folder: Path) -> Path:
    """Writes the config of a framework with a shallow network, which is built sooner."""
    path = folder / 'config.py'
    path.write_text(SHALLOW.format(str(ROOT / f'tests/configs/{CONFIGS[framework]}.py')))
    return path


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize('options, key', [
    (['--epochs', '3'], 'train_cfg.max_epochs'), (['--iters', '3'], 'train_cfg.max_iters'),
    (['--batch-size', '3'], 'train_dataloader.batch_size'), (['--lr', '1'], 'optim_wrapper.optimizer.lr'),
    (['--size', '64'], 'train_dataloader.dataset'), (['--freeze', '0'], 'model.backbone.frozen_stages'),
    (['--class-folder', FLOWERS], 'train_dataloader.dataset'), (['--no-pretrained'], 'model.backbone.init_cfg'),
    (['--split-seed', '0'], 'train_dataloader.dataset'), (['--early-stop', '2'], 'custom_hooks')])
def test_options_of_a_network_and_a_folder_name_the_key_of_a_config(options, key, tmp_path):
    with raises(UsageError, options[0], key, '--cfg-options') as caught:
        call('train', TINY, *options, '--work-dir', tmp_path / 'run')
    assert '\n' not in str(caught.value) and not (tmp_path / 'run').exists()


@pytest.mark.parametrize('network', ['reswin_tiny', 'refiner_vit_small_plain', 'resnet50', 'timm:resnet18'])
def test_a_network_needs_a_folder(network, tmp_path):
    with raises(UsageError, network, '--class-folder', '--coco-folder', '--seg-folder') as caught:
        call('train', network, '--no-pretrained', '--work-dir', tmp_path / 'run')
    assert set(re.findall(r'\bmask_rcnn\w+', str(caught.value))) <= {*named_configs()}


@pytest.mark.parametrize('folder', [[], ['--class-folder', FLOWERS]])
def test_a_wrong_name_is_answered_with_networks_and_configs(folder, tmp_path):
    with raises(UsageError, 'rest_lit', 'rest_lite') as caught:
        call('train', 'rest_lit', *folder, '--work-dir', tmp_path / 'run')
    assert any(word.endswith('_rest_lite') for word in str(caught.value).replace(',', '').replace(';', '').split())


class Watching(BaseVisBackend):
    """A log backend that must not be built, as it could begin a run on a server."""

    def __init__(self, save_dir: str) -> None:
        raise AssertionError

    experiment = property(lambda self: None)


@pytest.mark.parametrize('framework', CONFIGS)
def test_a_config_whose_parts_fit_passes_the_check(framework, tmp_path, capfd, monkeypatch):
    """It starts no processes, logs nothing and leaves nothing behind."""
    VISBACKENDS.register_module(module=Watching, force=True)
    (tmp_path / 'temporary').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'temporary'))
    before = sorted(ROOT.iterdir())
    call('train', config_of(framework, tmp_path), '--check', '--processes', '2', '--work-dir', tmp_path / 'run',
         '--cfg-options', 'visualizer.vis_backends.0.type=Watching')
    shown = capfd.readouterr()
    assert shown.out == 'ok\n' and ' INFO ' not in shown.err and not (tmp_path / 'run').exists()
    assert before == sorted(ROOT.iterdir())
    left = [path.name for path in (tmp_path / 'temporary').iterdir()]
    assert not [name for name in left if not name.startswith('torchinductor')]  # PyTorch's, where it is first imported


VIEWS = """
_base_ = {!r}
view = [dict(type='RandomResizedCrop', scale=32)]
train_dataloader = dict(dataset=dict(with_label=False, pipeline=[
    dict(type='LoadImageFromFile'), dict(type='MultiView', num_views=2, transforms=[view]), dict(type='PackInputs')]))
model = dict(
    _delete_=True, type='SimCLR',
    backbone=dict(
        type='ReSwin', out_indices=(3, ),
        arch=dict(embed_dims=12, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=7, mlp_ratio=1)),
    neck=dict(type='NonLinearNeck', in_channels=96, hid_channels=8, out_channels=8),
    head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(_delete_=True, type='SelfSupDataPreprocessor')
val_dataloader = val_cfg = val_evaluator = None
"""


def test_several_views_of_an_image_pass_the_check(tmp_path, capsys):
    (tmp_path / 'views.py').write_text(VIEWS.format(str(TINY)))
    call('train', tmp_path / 'views.py', '--check', '--work-dir', tmp_path / 'run')
    assert capsys.readouterr().out == 'ok\n'


def test_every_option_is_an_argument():
    """Of what makes a recipe or of what makes a config, unless it says how the run is started."""
    started = {'help', 'config', 'processes', 'launcher', 'local_rank', 'check', 'verbose'}
    of_recipes, *of_configs = (set(signature(function).parameters) for function in (
        fine_tune, training_config, shorthand_options))
    options = {action.dest for action in parser_of('train')._actions} - started
    assert options <= of_recipes.union(*of_configs)
    assert {'epochs', 'pretrained', 'ema'} <= options - set().union(*of_configs)


def test_a_network_has_no_data_root(tmp_path):
    with raises(UsageError, '--data-root', 'folder'):
        call('train', 'rest_lite', '--class-folder', FLOWERS, '--data-root', 'data', '--work-dir', tmp_path / 'run')


@pytest.mark.parametrize('framework, option, words', [
    ('mmpretrain', 'model.head.in_channels=700', ['model.head', 700, 768]),
    ('mmdet', 'model.neck.in_channels=[96,192,384,700]',
     ['model.neck', 700, 768]),
    ('mmseg', 'model.decode_head.in_channels=[96,192,300,768]', ['model.decode_head', 300, 384]),
    ('mmseg', 'model.auxiliary_head.in_channels=300', ['model.auxiliary_head', 300, 384]),
    ('mmseg', 'model.decode_head.in_channels=[96,192,384]', ['model cannot be used', 'in_channels']),
    ('mmdet', 'model.backbone.depth=3', ['model cannot be used', 'depth']),
    ('mmpretrain', 'model.backbone.in_channels=4', ['model.backbone.in_channels', 'data_preprocessor.mean', 4, 3]),
    ('mmseg', 'model.decode_head.num_classes=3', ['model.decode_head.num_classes', 3, 11, 'sky']),
    ('mmdet', 'model.roi_head.bbox_head.num_classes=3', ['model.roi_head.bbox_head.num_classes', 3, 4, 'person']),
    ('mmpretrain', 'model.head.num_classes=2', ['model.head.num_classes', 2, 5, 'daisy']),
    ('mmpretrain', 'model.head.loss.loss_weight=1e999', ['loss has inf']),
    ('mmpretrain', 'visualizer.vis_backends.0.type=AimVisBackend',
     ['visualizer.vis_backends.0', 'AimVisBackend', 'pip install aim']),
    ('mmpretrain', 'default_hooks.checkpoint.save_best=mAP',
     ['default_hooks.checkpoint.save_best', 'auto', 'accuracy/', 'mAP']),
    ('mmpretrain', 'optim_wrapper.optimizer.type=Lion', ['optimizer.type', 'Lion', 'pip install lion-pytorch']),
    ('mmpretrain', 'optim_wrapper.optimizer.type=AdamV', ['optimizer.type', 'AdamV', 'similar', 'Adam']),
    ('mmpretrain', 'train_cfg.max_epochs=)', ['train_cfg.max_epochs', "')'", 'positive integer']),
    *(('mmpretrain', f'{key}={value}', [key, value, 'integer']) for key, value in (
        ('train_cfg.val_interval', 0), ('default_hooks.checkpoint.interval', 'x'))),
    *(('mmpretrain', f'{key}={value}', [key.partition('.')[0]]) for key, value in (
        ('optim_wrapper.accumulative_counts', 0), ('train_dataloader.num_workers', 'two'),
        ('train_dataloader.num_workers', -1), ('val_dataloader.batch_size', 0), ('train_dataloader.batch_size', 2.5),
        ('randomness.seed', 'x'), ('optim_wrapper.optimizer.type', 'Adamm'),
        ('optim_wrapper.optimizer.type', 'no.such.Optimizer'), ('optim_wrapper.optimizer.lr', 'fast'),
        ('optim_wrapper.optimizer.lr', -1), ('optim_wrapper.clip_grad.max_norm', 'x'),
        ('train_dataloader.prefetch_factor', 2), ('default_hooks.checkpoint.type', 'Hook2'),
        ('train_dataloader.dataset.type', 'X'), ('val_dataloader.dataset.pipeline.0.type', 'X'),
        ('val_evaluator.type', 'X'), ('param_scheduler.0.type', 'X')))])
def test_parts_that_do_not_fit_are_one_line(framework, option, words, tmp_path):
    with raises(UsageError, *words) as caught:
        call('train', config_of(framework, tmp_path), '--check', '--work-dir', tmp_path / 'run',
             '--cfg-options', option)
    assert '\n' not in str(caught.value) and not (tmp_path / 'run').exists()


@pytest.mark.parametrize('lines, words', [
    ('compile = True', ['custom_hooks.1', '--compile', 'backbone', 'compile=True']),
    ("model = dict(_delete_=True, type='mmpretrain.GlobalAveragePooling')",
     ['custom_hooks.1', '--compile', 'backbone', 'GlobalAveragePooling']),
    ("model = dict(head=dict(loss=dict(reduction='x')))", ['model cannot be used']),
    ("model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth')))",
     ['pretrained weights', 'nowhere.pth', 'init_cfg=None']),
    ("model = dict(backbone=dict(init_cfg=dict(type='Constant', layer='Linear', val=float('nan'))))",
     ['model.init_cfg', 'backbone.', 'NaN']),
    ("train_dataloader = dict(dataset=dict(pipeline=[dict(type='Albu', transforms=[])]))",
     ['train_dataloader', 'pip install albumentations']),
    ("optim_wrapper = dict(optimizer=dict(lr='fast'))", ['optim_wrapper cannot be used']),
    ("optim_wrapper = dict(constructor='mmdet.LearningRateDecayOptimizerConstructor', paramwise_cfg=dict("
     "_delete_=True, decay_rate=0.9, decay_type='layer_wise', num_layers=6))",
     ['optim_wrapper cannot be used', 'LayerDecayConstructor does']),
    ("param_scheduler = [dict(type='PolyLR', begin=5, end=3)]", ['param_scheduler cannot be used']),
    ("default_hooks = dict(checkpoint=dict(rule='most'))", ['default_hooks cannot be used', 'most']),
    ('log_processor = dict(window=5)', ['log_processor cannot be used'])])
def test_what_cannot_be_used_is_refused_before_the_first_step(lines, words, tmp_path, own_loaders):
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {str(TINY)!r}\n{lines}')
    with raises(UsageError, *words):
        call('train', config, '--compile', '--work-dir', tmp_path / 'run')
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.skipif(torch.cuda.is_available(), reason='mixed precision runs on this machine')
@pytest.mark.parametrize('option', ['--amp', '--bf16'])
def test_mixed_precision_needs_a_gpu(option, tmp_path):
    for given in (['rest_lite', '--class-folder', FLOWERS, '--no-pretrained', '--size', '32'], [TINY]):
        with raises(UsageError, 'optim_wrapper', 'gpu'):
            call('train', *given, option, '--check', '--work-dir', tmp_path / 'run')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='mixed precision needs a GPU')
@pytest.mark.parametrize('option, dtype', [('--amp', 'float16'), ('--bf16', 'bfloat16'), ('--no-amp', None)])
def test_the_saved_recipe_has_the_precision(option, dtype, tmp_path):
    call('train', 'rest_lite', '--class-folder', FLOWERS, '--no-pretrained', option, '--check', '--work-dir', tmp_path)
    recipe, = tmp_path.glob('recipe/*.py')
    assert Config.fromfile(recipe).optim_wrapper.get('dtype') == dtype
