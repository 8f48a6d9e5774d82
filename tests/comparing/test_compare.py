"""`mmvit compare`: runs continue, settings are kept, and differences are stated with the spread."""
import json
import signal
import time
from functools import partial
from pathlib import Path

import mmseg
import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from runs import Run

from mmvit.comparing import compare
from mmvit.comparing.comparison import check_rates, differences, last_metric, logged, other_recipe
from mmvit.configs.files import read_config
from mmvit.drawing.ranking import draw_ranking
from mmvit.recipes import fine_tune
from mmvit.recipes.networks import find_network
from mmvit.recipes.other_config import with_backbone
from mmvit_backbones.errors import UsageError

FLOWERS, STREETS = (str(ROOT / 'data' / name) for name in ('flowers_mini', 'camvid_mini'))


@pytest.fixture
def few_flowers(tmp_path):
    """Returns a class folder with 4 training and 2 validation images per class."""
    for split, number in (('train', 4), ('val', 2)):
        for folder in Path(FLOWERS, split).iterdir():
            target = tmp_path / 'flowers' / split / folder.name
            target.mkdir(parents=True)
            for image in sorted(folder.iterdir())[:number]:
                (target / image.name).symlink_to(image)
    return tmp_path / 'flowers'


@pytest.mark.workflow
@pytest.mark.slow
def test_a_stopped_comparison_stops_its_training_and_continues(run, few_flowers, tmp_path):
    """Runs that have ended are not repeated, networks can be added, and the same training has the same metric."""
    out = tmp_path / 'out'
    options = ['--class-folder', str(few_flowers), '--size', '32', '--epochs', '4', '--seeds', '1', '--freeze',
               '--batch-size', '4', '--out', str(out)]
    first = Run(tmp_path / 'log.txt', 'compare', 'rest_lite', *options)
    while not [*out.glob('rest_lite/seed0/epoch_*.pth')]:  # the first of four
        assert first.process.is_alive(), first.text
        time.sleep(0.01)
    first.signal(signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM
    commands = [path.read_bytes() for path in Path('/proc').glob('[0-9]*/cmdline') if path.exists()]
    assert commands and not [command for command in commands if str(out).encode() in command]
    assert not [*out.glob('rest_lite/seed*.json')]

    recipe = str(out / 'rest_lite/recipe.py')
    table = run('compare', 'rest_lite', recipe, *options)  # continues, and adds a config with the same backbone
    paths = [*out.glob('*/seed0.json')]
    results = {path: path.read_text() for path in paths}
    for path in paths:
        entries = list(logged(path.with_suffix('')))
        assert json.loads(results[path])['metric'] == [
            entry['accuracy/top1'] for entry in entries if 'accuracy/top1' in entry][-1]
    assert len(paths) == 2 and len({json.loads(text)['metric'] for text in results.values()}) == 1
    text = (out / 'README.md').read_text()
    assert recipe in table and recipe in text and 'GMACs' in text and '10 validation images' in text
    assert (out / 'plot.png').stat().st_size > 1000
    again = partial(compare, ['rest_lite', recipe], class_folder=str(few_flowers), size=[32], seeds=1, freeze=True,
                    batch_size=4, out=str(out))
    again(epochs=4)
    assert results == {path: path.read_text() for path in out.glob('*/seed0.json')}
    with raises(UsageError, 'epochs=4', 'epochs=5', '--out'):
        again(epochs=5)


def rates_of(cfg: Config) -> set[float]:
    init_default_scope(cfg.default_scope)
    groups = build_optim_wrapper(MODELS.build(cfg.model), cfg.optim_wrapper).param_groups
    return {group['lr'] for group in groups}


NETWORKS = 'restv2_tiny', 'timm:resnet18', 'resnet50'


def test_all_networks_get_the_same_rates(few_flowers):
    pytest.importorskip('timm')
    rates = [rates_of(fine_tune(name, class_folder=str(few_flowers), size=32, pretrained=False, layer_decay=0.9,
                                decay_type='level_wise')) for name in NETWORKS]
    assert rates[0] == rates[1] == rates[2] and len(rates[0]) == 6  # of stem, levels and head
    unknown = dict(type='mmpretrain.MobileNetV2')
    with raises(UsageError, 'mobilenet', '--layer-decay 1', 'MobileNetV2'):
        check_rates('mobilenet', Config(dict(model=dict(backbone=unknown), optim_wrapper=dict(
            constructor='LayerDecayConstructor', paramwise_cfg=dict(decay_rate=0.9)))))


def test_all_networks_get_the_same_rates_with_a_config():
    """Published configs decay learning rates by the layers of their own backbone."""
    configs = Path(mmseg.__file__).parent / '.mim/configs'
    published = str(configs / 'convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py')
    with raises(UsageError, 'LearningRateDecayOptimizerConstructor', published, '--layer-decay'):
        other_recipe(published, NETWORKS[0], False, [], None)
    for config, given, decay in ((published, 0.8, 0.8), (published, 1, 1), ('upernet_restv2_s', None, 0.9),
                                 ('upernet_reswin_t', None, None)):
        for name in NETWORKS:
            options = other_recipe(config, name, False, [], given).optim_wrapper.get('paramwise_cfg', {})
            assert options.get('decay_rate') == decay and options.get('decay_type') == (decay and 'level_wise')


@pytest.mark.parametrize('name', ['mask_rcnn_rest_s', 'upernet_reswin_t', 'imagenet_rest_lite'])
def test_a_config_takes_another_backbone(name):
    """Neck and heads take the maps of the other backbone; a plain network gets a pyramid."""
    cfg = read_config(name)
    init_default_scope(cfg.default_scope)
    two_maps = dict(type='mmdet.ResNet', depth=18, out_indices=(2, 3))
    for network in ('timm:resnet18', 'vitae_tiny', 'vitae_base', two_maps):
        if cfg.default_scope == 'mmpretrain' and network != 'timm:resnet18':
            continue
        with torch.device('meta'):
            model = MODELS.build(with_backbone(cfg, find_network(network, pretrained=False)).model).eval()
            maps = model.extract_feat(torch.empty(1, 3, 64, 64))
            for head in ('rpn_head', 'decode_head', 'auxiliary_head', 'head'):
                if hasattr(model, head):
                    getattr(model, head)(maps)
    assert 'ResT' in str(cfg.model.backbone.type) or 'ReSwin' in cfg.model.backbone.type  # the config is unchanged


@pytest.mark.parametrize('name', ['mask_rcnn_rest_s', 'imagenet_rest_lite'])
def test_a_config_takes_the_statistics_of_other_weights(name):
    cfg = with_backbone(read_config(name), find_network('timm:vit_tiny_patch16_224.augreg_in21k'))
    images = {**cfg.get('data_preprocessor', {}), **cfg.model.get('data_preprocessor', {})}
    assert images['mean'] == images['std'] == [127.5] * 3
    assert images['to_rgb' if cfg.default_scope == 'mmpretrain' else 'bgr_to_rgb']


def test_words_follow_the_ranges_of_the_seeds():
    rows = [dict(network=name, lowest=low, highest=high, seeds=3)
            for name, low, high in (('a', 50, 52), ('b', 49, 51), ('c', 30, 31))]
    sentences = differences(rows, 500)
    assert sentences[0].startswith('a is better than c in every seed; not distinguishable from b')
    assert len(sentences) == 3 and 'c in every seed' in sentences[1] and '10%' in sentences[2]
    assert any('7 validation images' in line for line in differences(rows, 7))
    single = differences([dict(row, seeds=1) for row in rows], 500)
    assert len(single) == 1 and '--seeds' in single[0]


@pytest.mark.parametrize('count', [1, 12])
def test_a_plot_of_all_networks_is_written(count, tmp_path):
    rows = [{'network': f'timm:network_{index}', 'metric': 40 - index, 'lowest': 39 - index, 'highest': 42 - index,
             'ms per image, inference': 1 + 7 * index % 40} for index in range(count)]
    draw_ranking(tmp_path / 'plot.png', rows, 'box AP, %')
    with Image.open(tmp_path / 'plot.png') as image:
        assert len(image.convert('RGB').getcolors(10**6)) > 3 * min(count, 10)


def test_the_metric_is_that_of_the_last_evaluation(tmp_path):
    """Without it, there is no figure; the error names the metrics that there are."""
    entries = [dict(loss=1., step=1), {'coco/bbox_mAP': .25, 'step': 1}, {'coco/bbox_mAP': .5, 'step': 2}]
    assert last_metric(entries, 'mmdet', tmp_path) == 50
    assert last_metric([dict(mIoU=7., step=1)], 'mmseg', tmp_path) == 7
    with raises(UsageError, 'accuracy/top1', tmp_path, 'has coco/bbox_mAP;', 'val_evaluator'):
        last_metric(entries, 'mmpretrain', tmp_path)
    with raises(UsageError, 'mIoU', 'no metrics'):
        last_metric(entries[:1], 'mmseg', tmp_path)


@pytest.mark.parametrize('given, words', [
    ({}, ['class_folder', 'config']), (dict(config='upernet_reswin_t', epochs=3), ['upernet_reswin_t', 'epochs']),
    (dict(class_folder='x', seeds=0), ['seeds', '0']),
    (dict(class_folder='x', layer_decay=1.5), ['layer_decay', '1.5'])])
def test_wrong_arguments_are_refused(given, words, tmp_path):
    with raises(UsageError, *words):
        compare(['rest_lite'], out=str(tmp_path), **given)


def test_networks_never_share_a_folder(few_flowers, tmp_path):
    """Otherwise the second one would have the results of the first."""
    names = [str(tmp_path / name) for name in ('my/recipe.py', 'my_recipe.py')]
    with raises(UsageError, *names, 'rename'):
        compare(names, out=str(tmp_path / 'out'), class_folder=str(few_flowers))
