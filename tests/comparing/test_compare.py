"""`mmvit compare`: runs continue, settings are kept, and the spread of the seeds is shown."""
import json
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import ROOT, raises
from PIL import Image
from runs import Run

from mmvit.comparing import compare
from mmvit.drawing.ranking import draw_ranking
from mmvit.inference import Predictor
from mmvit.recipes import fine_tune
from mmvit_backbones import get_model
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
    out, weights = tmp_path / 'out', str(tmp_path / 'weights.pth')
    torch.save(get_model('rest_lite').state_dict(), weights)
    options = ['--class-folder', str(few_flowers), '--size', '32', '--epochs', '4', '--seeds', '1', '--freeze', 'all',
               '--pretrained', weights, '--batch-size', '4', '--out', str(out)]
    first = Run(tmp_path / 'log.txt', 'compare', 'rest_lite', *options)
    while not [*out.glob('rest_lite/seed0/epoch_*.pth')]:  # the first of four
        assert first.process.is_alive(), first.text
        time.sleep(0.01)
    first.signal(signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM
    commands = [path.read_bytes() for path in Path('/proc').glob('[0-9]*/cmdline') if path.exists()]
    assert commands and not [command for command in commands if str(out).encode() in command]
    assert not [*out.glob('rest_lite/seed*.json')]

    recipe = str(out / 'rest_lite/recipe/rest_lite_classifier.py')
    table = run('compare', 'rest_lite', recipe, *options)  # continues, and adds a config with the same backbone
    paths = [*out.glob('*/seed0.json')]
    results = {path: path.read_text() for path in paths}
    for path in paths:
        logs = ''.join(log.read_text() for log in sorted(path.with_suffix('').glob('*/vis_data/scalars.json')))
        entries = [json.loads(line) for line in logs.splitlines() if 'accuracy/top1' in line]
        assert json.loads(results[path])['metric'] == pytest.approx(entries[-1]['accuracy/top1'])
    assert len(paths) == 2 and len({json.loads(text)['metric'] for text in results.values()}) == 1
    text = (out / 'README.md').read_text()
    assert recipe in table and recipe in text and 'GMACs' in text and '10 validation images' in text
    assert (out / 'plot.png').stat().st_size > 1000
    given = dict(class_folder=str(few_flowers), size=[32], freeze='all', pretrained=weights, batch_size=4)
    alone = fine_tune('rest_lite', **given, epochs=4, work_dir=str(out / 'rest_lite'))
    assert Path(recipe).read_text(encoding='utf-8') == alone.text
    shutil.copy(out / 'rest_lite/seed0.json', out / 'rest_lite/seed1.json')
    again = partial(compare, [recipe], **given, seeds=1, out=str(out))
    seeds = {row['network']: row['seeds'] for row in again(epochs=4).rows}  # of all that were measured
    assert seeds == {'rest_lite': 2, recipe: 1} and 'rest_lite |' in (out / 'README.md').read_text()
    assert results == {path: path.read_text() for path in out.glob('*/seed0.json')}
    with raises(UsageError, 'epochs=4', 'epochs=5', '--out'):
        again(epochs=5)
    moved = Path(shutil.move(out, tmp_path / 'moved'))  # each run has what it needs
    for seed in moved.glob('*/seed0'):
        assert Predictor(str(seed))(str(next(few_flowers.glob('val/*/*'))))
    (next(few_flowers.glob('val/*/*'))).unlink()
    with raises(UsageError, 'removed', '--out'):
        partial(again, out=str(moved))(epochs=4)


def test_what_cannot_be_trained_is_refused_before_the_first_training(few_flowers, tmp_path):
    """Such as a network whose layers are unknown, so that its rates cannot be those of the others."""
    (tmp_path / 'mobilenet.py').write_text("""default_scope = 'mmpretrain'
model = dict(type='ImageClassifier', backbone=dict(type='MobileNetV2'))""")
    with raises(UsageError, 'layer_wise', 'MobileNetV2', '--layer-decay 1'):
        compare(['rest_lite', str(tmp_path / 'mobilenet.py')], class_folder=str(few_flowers), size=32, layer_decay=0.9,
                pretrained=False, out=str(tmp_path / 'out'))
    assert not [*tmp_path.glob('out/*/seed*')]


@pytest.mark.parametrize('count', [1, 12])
def test_a_plot_of_all_networks_is_written(count, tmp_path):
    rows = [{'network': f'timm:network_{index}', 'metric': 40 - index, 'lowest': 39 - index, 'highest': 42 - index,
             'ms per image, inference': 1 + 7 * index % 40} for index in range(count)]
    draw_ranking(tmp_path / 'plot.png', rows, 'box AP, %')
    with Image.open(tmp_path / 'plot.png') as image:
        assert len(image.convert('RGB').getcolors(10**6)) > 3 * min(count, 10)


@pytest.mark.parametrize('given, words', [
    ({}, ['class_folder', 'seg_folder']),
    (dict(class_folder='x', seeds=0), ['seeds', '0']),
    (dict(class_folder=FLOWERS, layer_decay=1.5), ['layer_decay', '1.5'])])
def test_wrong_arguments_are_refused(given, words, tmp_path):
    with raises(UsageError, *words):
        compare(['rest_lite'], out=str(tmp_path), **given)


def test_networks_never_share_a_folder(few_flowers, tmp_path):
    """Otherwise the second one would have the results of the first."""
    names = [str(tmp_path / name) for name in ('my/recipe.py', 'my_recipe.py')]
    with raises(UsageError, *names, 'rename'):
        compare(names, out=str(tmp_path / 'out'), class_folder=str(few_flowers))
