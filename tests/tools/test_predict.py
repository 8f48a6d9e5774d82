"""tools/predict.py writes results that programs read, in one process and in several; tools/test.py tests its files."""
import csv
import json
import runpy
import socket
from functools import partial

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from runs import TINY, Run, be_one_of
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.inference.runtimes import build_model

FLOWERS = ROOT / 'data/flowers_mini/val'


def run_main(script, *args):
    tool = runpy.run_path(str(ROOT / 'tools' / script))
    tool['main'](tool['get_parser']().parse_args([str(arg) for arg in args]))


def checkpoint_of(cfg, folder):
    """A checkpoint with its config, as a training writes it."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_model(cfg).state_dict(), meta=dict(cfg=cfg.pretty_text)), folder / 'model.pth')
    return folder / 'model.pth'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """The tiny classifier with one block."""
    path = tmp_path_factory.mktemp('config') / 'one_block.py'
    path.write_text(f"""
_base_ = {str(TINY)!r}
model = dict(backbone=dict(arch=dict(depths=[1], num_heads=[1]), out_indices=0), head=dict(in_channels=12))
""")
    return path


@pytest.fixture(scope='module')
def classifier(config, tmp_path_factory):
    return checkpoint_of(Config.fromfile(config), tmp_path_factory.mktemp('classifier'))


@pytest.mark.slow
def test_objects_are_coco_results(tmp_path):
    from pycocotools.coco import COCO
    cfg = Config.fromfile(ROOT / 'configs/demo/mask_rcnn_reswin_t.py')
    cfg.merge_from_dict(dict(model=dict(neck=dict(in_channels=[16, 32, 64, 128]))))
    cfg.model.backbone = dict(type='ReSwin', **TINY_CONFIGS['ReSwin'])
    annotations = ROOT / 'data/coco_mini/annotations/large_val.json'
    run_main('predict.py', ROOT / 'data/coco_mini/val', '--checkpoint', checkpoint_of(cfg, tmp_path), '--json',
             '--annotations', annotations, '--score-thr', 0, '--out-dir', tmp_path / 'out', '--device', 'cpu')
    truth = COCO(annotations)
    found = truth.loadRes(str(tmp_path / 'out/results.json'))
    assert {entry['category_id'] for entry in found.anns.values()} <= set(truth.getCatIds())
    assert all(entry['segmentation']['counts'] for entry in found.anns.values())


@pytest.mark.slow
def test_classes_are_a_table(classifier, tmp_path):
    run_main('predict.py', FLOWERS, '--checkpoint', classifier, '--json', '--out-dir', tmp_path, '--batch-size', 4)
    with (tmp_path / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    images = sorted(FLOWERS.rglob('*.jpg'))
    assert [row['file'] for row in rows] == list(map(str, images))
    assert float(rows[0]['score1']) >= float(rows[0]['score5']) and rows[0]['class1']
    assert (tmp_path / images[0].relative_to(FLOWERS).with_suffix('.png')).exists()  # the folders below are kept


@pytest.mark.training
def test_processes_share_images_and_go_on(classifier, tmp_path):
    """Two processes, after one was killed: some shards are missing and one is half written."""
    parquet = pytest.importorskip('pyarrow.parquet')
    images = tmp_path / 'images'
    images.mkdir()
    for number, path in enumerate(sorted(FLOWERS.rglob('*.jpg'))[:11]):
        (images / f'{number:02}.jpg').write_bytes(path.read_bytes() if number != 4 else b'no image')
    common = ['predict.py', images, '--checkpoint', classifier, '--device', 'cpu', '--parquet', '--shard-size', 2]
    with pytest.raises(SystemExit):
        run_main(*common, '--out-dir', tmp_path / 'one')
    with pytest.raises(SystemExit):
        run_main(*common, '--out-dir', tmp_path / 'two')
    for number in (1, 3, 4):
        (tmp_path / f'two/{number:06}.parquet').unlink()
    (tmp_path / 'two/000003.part').write_bytes(b'half')
    kept = (tmp_path / 'two/000000.parquet').stat().st_mtime_ns
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    processes = [Run(tmp_path / f'{rank}.txt', *common, '--out-dir', tmp_path / 'two', '--launcher', 'pytorch',
                     before=partial(be_one_of, rank, 2, port)) for rank in range(2)]
    assert [process.wait(300) for process in processes] == [1, 0], [process.text for process in processes]
    assert '10 predicted, 1 failed' in processes[0].text and '04.jpg cannot be read' in processes[0].text
    one, two = ([parquet.read_table(path).to_pylist() for path in sorted((tmp_path / name).glob('*.parquet'))]
                for name in ('one', 'two'))
    assert one == two and sum(map(len, one)) == 11
    assert (tmp_path / 'two/000000.parquet').stat().st_mtime_ns == kept
    with pytest.raises(ValueError, match='results of other images'):
        run_main(*common[:-1], 3, '--out-dir', tmp_path / 'two')


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
def test_exported_file_has_the_metrics_of_its_checkpoint(config, classifier, tmp_path, monkeypatch, own_loaders):
    monkeypatch.chdir(ROOT)
    run_main('export.py', config, classifier, tmp_path / 'model.onnx')
    for name, model in (('pytorch', classifier), ('onnx', tmp_path / 'model.onnx')):
        run_main('test.py', config, model, '--work-dir', tmp_path / name)
    expected, actual = (json.loads(next((tmp_path / name).glob('*/*.json')).read_text())
                        for name in ('pytorch', 'onnx'))
    assert actual['accuracy/top1'] == expected['accuracy/top1']
