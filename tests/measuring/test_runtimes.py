"""Networks and models in several runtimes."""
import csv
import time

import numpy as np
import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from torch import nn

from mmvit.inference.runtimes import installed_runtimes
from mmvit.measuring import Table, compare_runtimes
from mmvit.measuring.speed import measure_subject, time_functions
from mmvit.measuring.subjects import RUNTIMES, TimedModel, TimedNetwork, timed_network
from mmvit_backbones.errors import MMViTError

INSTALLED = [name for name, options in RUNTIMES.items()
             if options.get('runtime', 'onnxruntime') in installed_runtimes()]


class Branches(nn.Module):
    """Runs in eager mode, but cannot be exported to a graph."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


def test_a_failed_runtime_has_its_error_as_result():
    rows = measure_subject(TimedNetwork('net', Branches(), torch.rand(2, 3, 8, 8)), ['onnxruntime', 'eager'], 1)
    assert [row['runtime'] for row in rows] == ['eager', 'onnxruntime']
    assert rows[0]['speedup'] == 1 and rows[0]['deviation'] == 0 and 'data-dependent' in rows[1]['error']
    about, empty, *table = str(Table('about', rows)).splitlines()
    assert about == 'about' and not empty
    assert table[0].startswith('| model | runtime | memory_mib | deviation | ms |')
    assert table[2].startswith('| net | eager | ') and table[3] == '| net | onnxruntime |  |  |  |  |  |'
    assert table[4].startswith('net in onnxruntime failed: ')


def test_outputs_of_another_runtime_are_compared():
    network = TimedNetwork('net', nn.Conv2d(3, 4, 1), torch.rand(2, 3, 8, 8))
    expected = network.load('eager', None)(network.images)
    assert network.deviation([expected[0] + 0.1 * expected[0].abs().max()], expected) == pytest.approx(0.1, rel=1e-3)
    model = TimedModel('model', Config(), 'model.pth', [], [], False)
    boxes = np.array([[0, 0, 10, 10]], 'f')
    found = dict(labels=np.zeros(1, int), scores=np.array([.9], 'f'), boxes=boxes)
    assert model.deviation([found], [found]) == 0
    assert model.deviation([dict(found, boxes=boxes * [1, 1, 1, .9])], [found]) == pytest.approx(0.1)
    assert model.deviation([dict(found, scores=np.array([.7], 'f'))], [found]) == pytest.approx(0.2)


@pytest.mark.compiler
@torch.no_grad()
def test_all_runtimes_run_a_single_image():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(5 * 8 * 8, 2)).eval()
    rows = measure_subject(TimedNetwork('net', model, torch.rand(1, 3, 8, 8)), INSTALLED, repeats=1)
    assert [row['runtime'] for row in rows] == INSTALLED
    for row in rows:
        if row['runtime'] == 'openvino-bf16' and 'this CPU has no instructions' in row.get('error', ''):
            continue
        assert 'error' not in row, row
        assert row['deviation'] < (0.1 if row['runtime'] in ('int8', 'openvino-bf16') else 1e-5), row
        assert ('file_mib' in row and row['file_mib'] is not None) == bool(RUNTIMES[row['runtime']])


@pytest.mark.slow
def test_a_whole_model_has_its_metric(tmp_path):
    """The images of the test set are red, green or blue, as the classes of the model."""
    cfg = Config.fromfile(ROOT / 'tests/running/tiny_classifier.py')
    for name, color in (('a', 'red'), ('b', 'lime'), ('c', 'blue')):
        (tmp_path / 'val' / name).mkdir(parents=True)
        Image.new('RGB', (60, 80), color).save(tmp_path / f'val/{name}/1.png')
    cfg.model.head.num_classes = 3
    data = dict(num_workers=0, persistent_workers=False, dataset=dict(
        data_root=str(tmp_path), data_prefix='val', ann_file='', metainfo=dict(classes=['a', 'b', 'c'])))
    cfg.merge_from_dict(dict(test_dataloader=data))
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    cfg.dump(tmp_path / 'config.py')
    table = compare_runtimes([str(tmp_path / 'model.pth')], ['eager', *installed_runtimes()], repeats=1,
                             threads=torch.get_num_threads())
    table.save(tmp_path / 'table.csv')
    rows = list(csv.DictReader((tmp_path / 'table.csv').read_text().splitlines()))
    assert [row['runtime'] for row in rows] == ['eager', *installed_runtimes()]
    assert {row['metric'] for row in rows} == {'accuracy/top1'} and len({row['value'] for row in rows}) == 1
    assert all(float(row['deviation']) < 1e-4 and float(row['ms']) > 0 for row in rows)
    assert '| accuracy/top1 |' in str(table)


def test_a_dense_network_has_all_its_maps():
    network = timed_network('rest_lite', True, (448, 672), 2)
    assert network.images.shape == (2, 3, 448, 672) and len(network.names) == 4


@pytest.mark.parametrize('networks, options, words', [
    (['torch:x'], {}, ['network must be NAME, timm:NAME or mmpretrain:NAME', 'torch:x']),
    (['resnet50'], {}, ['resnet50', 'reswin_tiny']), (['rest_lite'], dict(runtimes=['tensorrt']), ['runtimes', 'int8']),
    (['rest_lite'], dict(images=['a']), ['images', '.pth', 'rest_lite']),
    (['rest_lite'], dict(config='a'), ['config', '.pth', 'rest_lite']),
    (['a.pth'], dict(size=(8, 8)), ['size', 'network']), (['a.pth'], {}, ['a.pth'])])
def test_wrong_arguments_are_refused(networks, options, words):
    with raises(MMViTError, *words):
        compare_runtimes(networks, **{'runtimes': ['eager'], **options})


def test_latency_and_throughput():
    """The first call is a warm-up. Speedups are relative to the first function."""
    calls = []

    def slow(images) -> None:
        calls.append(len(images))
        time.sleep(.02 * len(images))

    found = time_functions(dict(slow=slow, fast=len), torch.zeros(4, 3, 2, 2), 3)
    assert calls.count(1) == calls.count(4) == 1 + 3
    assert found['slow']['ms'] >= 20 and 0 < found['slow']['images_per_second'] <= 50
    assert found['slow']['speedup'] == 1 and found['fast']['speedup'] > 1 and found['fast']['ms'] < 20
