"""Tests the table of `mmvit benchmark --runtime`."""
import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from subcommands import call
from torch import nn

from mmvit_backbones.cli import benchmark, runtimes
from mmvit_backbones.cli.runtimes import Network, WholeModel, compare_runtimes, table_of
from mmvit_backbones.inference.runtimes import RUNTIMES, installed_runtimes

INSTALLED = [name for name, options in runtimes.RUNTIMES.items()
             if options.get('runtime', 'onnxruntime') in installed_runtimes()]


class Branches(nn.Module):
    """Runs in eager mode, but cannot be exported to a graph."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


def test_a_failed_runtime_has_its_error_as_result():
    rows = compare_runtimes(Network('net', Branches(), torch.rand(2, 3, 8, 8)), ['onnxruntime', 'eager'], 1)
    assert [row['runtime'] for row in rows] == ['eager', 'onnxruntime']
    assert rows[0]['speedup'] == 1 and rows[0]['deviation'] == 0 and 'data-dependent' in rows[1]['error']
    table = table_of(rows).splitlines()
    assert table[0].startswith('| model | runtime | deviation | ms |')
    assert table[2].startswith('| net | eager | 0.0e+00 |')
    assert table[3] == '| net | onnxruntime |  |  |  |  |  |' and table[4].startswith('net in onnxruntime failed: ')


def test_outputs_of_another_runtime_are_compared():
    network = Network('net', nn.Conv2d(3, 4, 1), torch.rand(2, 3, 8, 8))
    expected = network.load('eager', None)(network.images)
    assert network.deviation([expected[0] + 0.1 * expected[0].abs().max()], expected) == pytest.approx(0.1, rel=1e-3)
    model = WholeModel('model', Config(), 'model.pth', [], [], False)
    boxes = np.array([[0, 0, 10, 10]], 'f')
    found = dict(labels=np.zeros(1, int), scores=np.array([.9], 'f'), boxes=boxes)
    assert model.deviation([found], [found]) == 0
    assert model.deviation([dict(found, boxes=boxes * [1, 1, 1, .9])], [found]) == pytest.approx(0.1)
    assert model.deviation([dict(found, scores=np.array([.7], 'f'))], [found]) == pytest.approx(0.2)


@pytest.mark.compiler
@torch.no_grad()
def test_all_runtimes_run_a_single_image():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(5 * 8 * 8, 2)).eval()
    rows = compare_runtimes(Network('net', model, torch.rand(1, 3, 8, 8)), INSTALLED, repeats=1)
    assert [row['runtime'] for row in rows] == INSTALLED
    for row in rows:
        if row['runtime'] == 'openvino-bf16' and 'this CPU has no instructions' in row.get('error', ''):
            continue
        assert 'error' not in row, row
        assert row['deviation'] < (0.1 if row['runtime'] in ('int8', 'openvino-bf16') else 1e-5), row
        assert ('file_mib' in row and row['file_mib'] is not None) == bool(runtimes.RUNTIMES[row['runtime']])


@pytest.mark.slow
def test_a_whole_model_has_its_metric(tmp_path, capsys):
    """The images of the test set are red, green or blue, as the classes of the model."""
    cfg = Config.fromfile(ROOT / 'tests/training/tiny_classifier.py')
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
    call('benchmark', tmp_path / 'model.pth', '--runtime', 'eager', *installed_runtimes(), '--repeats', 1,
         '--csv', tmp_path / 'table.csv', '--threads', torch.get_num_threads())
    rows = list(csv.DictReader((tmp_path / 'table.csv').read_text().splitlines()))
    assert [row['runtime'] for row in rows] == ['eager', *installed_runtimes()]
    assert {row['metric'] for row in rows} == {'accuracy/top1'} and len({row['value'] for row in rows}) == 1
    assert all(float(row['deviation']) < 1e-4 and float(row['ms']) > 0 for row in rows)
    assert '| accuracy/top1 |' in capsys.readouterr().out


def test_checkpoints_and_networks(tmp_path):
    args = SimpleNamespace(size=None, dense=True, batch_size=2, networks=['rest_lite'])
    network, = benchmark.subjects(args)
    assert network.images.shape == (2, 3, 448, 672) and len(network.names) == 4
    assert benchmark.is_checkpoint('a.pth') and benchmark.is_checkpoint(str(tmp_path))
    assert not benchmark.is_checkpoint('rest_lite') and set(RUNTIMES) == {'onnxruntime', 'openvino'}
