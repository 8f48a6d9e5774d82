"""`mmvit train NETWORK` on a folder: the fine-tuning recipes, learning rates by images per update, and image sizes."""
import shutil
from argparse import Namespace
from importlib import import_module

import pytest
import torch
from helpers import ROOT, raises, remove_masks
from mmengine.registry import MODELS, init_default_scope
from mmvit_backbones.cli import finetune, steps, train
from subcommands import parser_of

from mmvit_backbones.errors import UsageError
from mmvit_backbones.ops.dispatch import plain_pytorch
from mmvit_backbones.utils.config import load_config
from mmvit_backbones.zoo.variants import VARIANTS

FLOWERS, COCO, STREETS = (str(ROOT / 'data' / name) for name in ('flowers_mini', 'coco_mini', 'camvid_mini'))
FOLDERS = [('--class-folder', FLOWERS), ('--coco-folder', COCO), ('--seg-folder', STREETS)]
# The smallest network of each family.
NETWORKS = list({variant.family.name: variant.name for variant in sorted(
    VARIANTS.values(), key=lambda variant: -variant.num_params)}.values())


def prepared(tmp_path, *arguments: str):
    """Returns the config of a training that is not started."""
    args = parser_of('train').parse_args([*arguments, '--work-dir', str(tmp_path / 'run'), '--check'])
    return train.prepare(args)


@pytest.mark.parametrize('network', NETWORKS)
@pytest.mark.parametrize('task, scope', [('class', 'mmpretrain'), ('coco', 'mmdet'), ('seg', 'mmseg')])
def test_every_network_gets_fitting_heads(network, task, scope):
    import_module(f'{scope}.models')
    folders = dict.fromkeys(('class_folder', 'coco_folder', 'seg_folder'))
    folders[f'{task}_folder'] = dict(class_folder=FLOWERS, coco_folder=COCO, seg_folder=STREETS)[f'{task}_folder']
    cfg = finetune.read_run_config(Namespace(config=network, needs=(), no_pretrained=True, **folders))
    init_default_scope(scope)
    with torch.device('meta'), torch.no_grad(), plain_pytorch():
        model = MODELS.build(cfg.model).eval()
        maps = model.extract_feat(torch.empty(1, 3, 64, 96))
    if scope == 'mmdet':
        assert [tuple(x.shape[1:]) for x in maps][:2] == [(256, 16, 24), (256, 8, 12)] and len(maps) == 5
    elif scope == 'mmseg':
        with torch.device('meta'), torch.no_grad():
            assert model.decode_head(maps).shape == (1, 150, 16, 24) and model.auxiliary_head(maps).shape[1] == 150
    else:
        with torch.device('meta'), torch.no_grad(), plain_pytorch():
            assert model(torch.empty(1, 3, 64, 96)).shape == (1, 1000)


def test_length_and_rate_follow_from_the_data_and_the_batch(tmp_path):
    cfg = prepared(tmp_path, 'rest_lite', '--class-folder', FLOWERS, '--no-pretrained', '--batch-size', '8')
    warm_up, decay = cfg.param_scheduler
    steps = 100 * 30
    assert cfg.train_cfg.max_epochs == 100 and (warm_up.end, decay.begin, decay.end) == (steps // 20, ) * 2 + (steps, )
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(5e-4 / 2)  # half of the recipe's images per update
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' if torch.cuda.is_available() else 'OptimWrapper'
    assert [finetune.epochs_for(images) for images in (10, 1000, 4000, 10**6)] == [100, 100, 50, 12]


def test_one_epoch_has_no_warm_up_that_never_ends(tmp_path):
    cfg = prepared(tmp_path, 'rest_lite', '--coco-folder', COCO, '--no-pretrained', '--epochs', '1')
    assert [schedule.type for schedule in cfg.param_scheduler] == ['CosineAnnealingLR']
    assert (cfg.param_scheduler[0].begin, cfg.param_scheduler[0].end) == (0, 16)


def test_published_weights_are_the_default(tmp_path, monkeypatch):
    cfg = load_config(str(ROOT / 'configs/imagenet_rest_lite.py'))
    cfg.random_weights = dict(optim_wrapper=dict(optimizer=dict(lr=1.)))
    rate = cfg.optim_wrapper.optimizer.lr
    steps.use_pretrained(cfg, Namespace(config='rest_lite', pretrained=None, no_pretrained=False))
    assert cfg.model.backbone.init_cfg.checkpoint == 'official://rest_lite' and cfg.optim_wrapper.optimizer.lr == rate
    cfg.random_weights = dict(optim_wrapper=dict(optimizer=dict(lr=1.)))
    steps.use_pretrained(cfg, Namespace(config='rest_lite', pretrained=None, no_pretrained=True))
    assert cfg.model.backbone.init_cfg is None and cfg.optim_wrapper.optimizer.lr == 1


@pytest.mark.parametrize('network', ['rest_lite', 'swin_vsa_tiny'])
def test_missing_weights_name_the_flag(network, tmp_path, monkeypatch):
    """Without a network, or for a network without published weights, training stops with one line."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'empty'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'empty'))
    monkeypatch.setattr('socket.socket.connect', refuse)
    with raises(UsageError, network, '--no-pretrained'):
        prepared(tmp_path, network, '--class-folder', FLOWERS)


def refuse(*args):
    raise OSError('offline')


def test_a_network_needs_a_folder(tmp_path):
    with raises(UsageError, 'rest_lite', '--class-folder', '--coco-folder', '--seg-folder'):
        prepared(tmp_path, 'rest_lite', '--no-pretrained')


def test_boxes_without_masks_train_without_masks(tmp_path):
    folder = tmp_path / 'boxes'
    shutil.copytree(COCO, folder, ignore=shutil.ignore_patterns('semantic', 'large*'))
    remove_masks(folder)
    cfg = prepared(tmp_path, 'rest_lite', '--coco-folder', str(folder), '--no-pretrained')
    assert cfg.model.type == 'FasterRCNN' and 'mask_head' not in cfg.model.roi_head
    assert cfg.val_evaluator.metric == 'bbox'


def test_other_numbers_of_images_are_reported_and_scaled_on_request(tmp_path, capsys):
    options = ['imagenet_vitaev2_s', '--class-folder', FLOWERS, '--no-pretrained', '--batch-size', '64']
    cfg = prepared(tmp_path, *options)
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    message = capsys.readouterr().err
    assert '64 images per update' in message and '1024' in message and '6.25e-05' in message and '--lr auto' in message
    cfg = prepared(tmp_path, *options, '--lr', 'auto')
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(6.25e-5)
    assert cfg.param_scheduler[-1].eta_min == pytest.approx(6.25e-7)
    assert '--lr auto' not in capsys.readouterr().err
    assert 'images per update' not in message.replace('64 images per update', '')


def test_size_says_what_it_costs(tmp_path, capsys):
    cfg = prepared(tmp_path, 'rest_lite', '--seg-folder', STREETS, '--no-pretrained', '--size', '128')
    assert cfg.model.data_preprocessor.size == (128, 128)
    message = capsys.readouterr().err
    assert '128 x 128' in message and '512 x 512' in message and 'GMACs' in message
    with pytest.raises(SystemExit):
        prepared(tmp_path, 'rest_lite', '--seg-folder', STREETS, '--size', '1', '2', '3')
