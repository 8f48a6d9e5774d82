"""`mmvit compare`: heads start equal, runs continue, settings are kept, and differences are stated with the spread."""
import json
import shlex
import signal
import time
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

import pytest
import torch
from helpers import ROOT, raises
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from PIL import Image
from runs import Run

from mmvit import compare as arguments_of_compare
from mmvit_backbones.cli import compare
from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.equal_heads import EqualHeadsHook

FLOWERS, STREETS = (str(ROOT / 'data' / name) for name in ('flowers_mini', 'camvid_mini'))


def arguments(out, *options: str) -> Namespace:
    return arguments_of_compare.get_parser().parse_args([*options, '--out', str(out)])


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


@pytest.mark.training
@pytest.mark.slow
def test_a_second_call_repeats_the_table_and_adds_a_network(run, few_flowers, tmp_path):
    """Runs that have ended are not repeated, and their metrics stay the same."""
    options = ['--class-folder', str(few_flowers), '--size', '32', '--epochs', '1', '--seeds', '1', '--freeze',
               '--batch-size', '4', '--out', str(tmp_path)]
    run('compare', 'rest_lite', *options)
    first = {path.name: path.read_text() for path in tmp_path.glob('rest_lite/seed*.json')}
    assert len(first) == 1
    run('compare', 'rest_lite', 'timm:resnet18', *options)
    assert {path.name: path.read_text() for path in tmp_path.glob('rest_lite/seed*.json')} == first
    text = (tmp_path / 'README.md').read_text()
    assert 'timm:resnet18' in text and 'GMACs' in text and '10 validation images' in text
    assert (tmp_path / 'plot.png').stat().st_size > 1000
    assert (tmp_path / 'results.csv').read_text().count('\n') == 3
    (tmp_path / 'rest_lite/seed0.json').unlink()  # as if killed: trains again from the last checkpoint
    run('compare', 'rest_lite', 'timm:resnet18', *options)
    again = json.loads((tmp_path / 'rest_lite/seed0.json').read_text())
    assert again['metric'] == json.loads(first['seed0.json'])['metric']
    with raises(UsageError, 'epochs', '--out'):
        compare.check_settings(
            tmp_path, arguments(tmp_path, 'rest_lite', *options[:2], '--size', '32', '--epochs', '2'))


@pytest.mark.training
@pytest.mark.slow
def test_a_stopped_comparison_stops_its_training(tmp_path):
    out = tmp_path / 'out'
    run = Run(tmp_path / 'log.txt', 'compare', 'rest_lite', '--class-folder', FLOWERS, '--size', '32', '--epochs', '1',
              '--out', out)
    log = out / 'rest_lite/seed0.log'
    while not log.exists() or not log.read_text():
        assert run.process.is_alive(), run.text
        time.sleep(0.01)
    run.signal(signal.SIGTERM)
    assert run.wait() == 128 + signal.SIGTERM
    commands = [path.read_bytes() for path in Path('/proc').glob('[0-9]*/cmdline') if path.exists()]
    assert commands and not [command for command in commands if str(out).encode() in command]


def test_heads_start_equal(tmp_path):
    """The heads that follow the pyramid have the same weights for backbones with other channels."""
    heads = {}
    for network in ('rest_lite', 'timm:resnet18', 'vitae_tiny'):
        args = arguments(tmp_path, network, '--seg-folder', STREETS, '--epochs', '1')
        cfg = compare.prepare(network, args, tmp_path)
        init_default_scope('mmseg')
        torch.manual_seed(len(heads))
        model = MODELS.build({**cfg.model.to_dict(), 'backbone': dict(type='NoBackbone')})
        hook = next(hook for hook in cfg.custom_hooks if hook.type == 'EqualHeadsHook')
        runner = Namespace(iter=0, model=model, seed=3)
        EqualHeadsHook(hook.models).before_train(runner)
        heads[network] = model.decode_head.conv_seg.weight, model.decode_head.fpn_convs[0].conv.weight
    for other in ('timm:resnet18', 'vitae_tiny'):
        assert all(torch.equal(a, b) for a, b in zip(heads['rest_lite'], heads[other]))


def test_preprocessing_of_a_recipe_is_kept(tmp_path):
    """Mixup needs the number of classes, which this recipe has outside its model."""
    args = arguments(tmp_path, 'timm:resnet18', '--config', 'imagenet_rest_lite', '--class-folder', FLOWERS)
    cfg = compare.prepare('timm:resnet18', args, tmp_path)
    init_default_scope('mmpretrain')
    model = MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model.to_dict()})
    batch = dict(inputs=list(torch.zeros(2, 3, 32, 32)), data_samples=[DataSample().set_gt_label(i) for i in (0, 4)])
    scores = model.data_preprocessor(batch, training=True)['data_samples'][0].gt_score
    assert scores.shape == (5, )


def test_words_follow_the_ranges_of_the_seeds():
    rows = [dict(network=name, lowest=low, highest=high, seeds=3)
            for name, low, high in (('a', 50, 52), ('b', 49, 51), ('c', 30, 31))]
    sentences = compare.differences(rows, 500)
    assert sentences[0].startswith('a is better than c in every seed; not distinguishable from b')
    assert len(sentences) == 3 and 'c in every seed' in sentences[1] and '10%' in sentences[2]
    assert any('7 validation images' in line for line in compare.differences(rows, 7))
    single = compare.differences([dict(row, seeds=1) for row in rows], 500)
    assert len(single) == 1 and '--seeds' in single[0]


@pytest.mark.parametrize('count', [1, 12])
def test_a_plot_of_all_networks_is_written(count, tmp_path):
    rows = [{'network': f'timm:network_{index}', 'metric': 40 - index, 'lowest': 39 - index, 'highest': 42 - index,
             'ms per image, inference': 1 + 7 * index % 40} for index in range(count)]
    compare.plot(tmp_path / 'plot.png', rows, 'box AP, %')
    with Image.open(tmp_path / 'plot.png') as image:
        assert len(image.convert('RGB').getcolors(10**6)) > 3 * min(count, 10)


def test_the_command_of_a_comparison_is_stated(tmp_path):
    options = ['rest_lite', 'timm:resnet18', '--config', 'my recipe.py', '--budget', '2m', '--seeds', '2', '--freeze',
               '--size', '96', '128']
    text = compare.command_of(arguments(tmp_path, *options))
    words = shlex.split(text)
    again = arguments_of_compare.get_parser().parse_args(words[2:])
    assert vars(again) == {**vars(arguments(tmp_path, *options)), 'out': 'compare'}


def test_unknown_networks_and_durations(tmp_path):
    for name in ('reswin_tinny', 'timm:nothing'):
        with raises(UsageError, name.removeprefix('timm:')):
            MODELS.build(compare.backbone_of(name, pretrained=False))
    assert arguments_of_compare.seconds('1.5h') == 5400
    for text in ('2', '0h', 'soon'):
        with pytest.raises(ArgumentTypeError, match=text):
            arguments_of_compare.seconds(text)


def test_runs_need_data(tmp_path):
    with raises(UsageError, '--class-folder'):
        compare.prepare('rest_lite', arguments(tmp_path, 'rest_lite'), tmp_path)
