"""Tests the files that `mmvit predict` writes in one or two processes, and `mmvit test` with exported files."""
import csv
import json
import socket
from functools import partial
from pathlib import Path

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from runs import TINY, Run, be_one_of
from tiny_configs import TINY_CONFIGS
from verbs import call

from mmvit_backbones.cli import predict
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.inference.runtimes import build_model
from mmvit_backbones.utils.config import datasets_of

FLOWERS = ROOT / 'data/flowers_mini/val'


def checkpoint_of(cfg, folder):
    """Saves a checkpoint with its config, like a training."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_model(cfg).state_dict(), meta=dict(cfg=cfg.pretty_text, dataset_meta=dict(
        classes=list((datasets_of(cfg, 'test')[0].get('metainfo') or {}).get('classes') or ())))), folder / 'model.pth')
    return folder / 'model.pth'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """Returns the path of a config of the tiny classifier with one block."""
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
    content = json.loads((ROOT / 'data/coco_mini/annotations/large_val.json').read_text())
    images = [ROOT / 'data/coco_mini/val' / image['file_name'] for image in content['images'][:3]]
    for image in content['images']:
        image['file_name'] = f'val/{image["file_name"]}'  # relative to the folder that contains the splits
    annotations = tmp_path / 'annotations.json'
    annotations.write_text(json.dumps(content))
    arguments = ['--checkpoint', checkpoint_of(cfg, tmp_path), '--json', '--annotations', annotations, '--score-thr', 0,
                 '--out-dir', tmp_path / 'out', '--device', 'cpu']
    call('predict', *images, *arguments)
    truth = COCO(annotations)
    found = truth.loadRes(str(tmp_path / 'out/results.json'))
    assert {entry['image_id'] for entry in found.anns.values()} == {image['id'] for image in content['images'][:3]}
    assert {entry['category_id'] for entry in found.anns.values()} <= set(truth.getCatIds())
    assert all(entry['segmentation']['counts'] for entry in found.anns.values())
    other = tmp_path / 'other.jpg'
    other.write_bytes(images[0].read_bytes())
    with raises(UsageError, 'annotations.json', 'images'):
        call('predict', other, *arguments)
    with pytest.raises(SystemExit):  # one of the two images is not in the annotations
        call('predict', other, images[0], *arguments)


@pytest.mark.slow
def test_classes_are_a_table(classifier, tmp_path):
    call('predict', FLOWERS, '--checkpoint', classifier, '--json', '--out-dir', tmp_path, '--batch-size', 4)
    with (tmp_path / 'results.csv').open() as file:
        rows = list(csv.DictReader(file))
    images = sorted(FLOWERS.rglob('*.jpg'))
    assert [row['file'] for row in rows] == list(map(str, images))
    assert float(rows[0]['score1']) >= float(rows[0]['score5']) and rows[0]['class1']
    assert (tmp_path / images[0].relative_to(FLOWERS).with_suffix('.png')).exists()  # subfolders are kept


@pytest.mark.slow
@pytest.mark.parametrize('name', ['image.png', 'results.csv'])
def test_links_are_not_followed(name, classifier, tmp_path):
    image, target = tmp_path / 'image.jpg', tmp_path / 'target'
    image.write_bytes(next(FLOWERS.rglob('*.jpg')).read_bytes())
    target.write_text('precious')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / name).symlink_to(target)
    with raises(UsageError, name, 'link'):
        call('predict', image, '--checkpoint', classifier, '--json', '--out-dir', tmp_path / 'out')
    assert target.read_text() == 'precious'


@pytest.mark.slow
def test_names_of_configs_and_published_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    torch.save(fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32), 'vitae_tiny.pth')
    call('predict', ROOT / 'data/coco_mini/val/000000000285.jpg', '--config', 'imagenet_vitae_t', '--pretrained')
    assert '000000000285.png' in capsys.readouterr().out and Path('predictions/000000000285.png').exists()


@pytest.mark.training
def test_two_processes_complete_an_interrupted_run(classifier, tmp_path):
    """Completes an interrupted run, with missing and partly written shards, in two processes."""
    parquet = pytest.importorskip('pyarrow.parquet')
    images = tmp_path / 'images'
    images.mkdir()
    for number, path in enumerate(sorted(FLOWERS.rglob('*.jpg'))[:11]):
        (images / f'{number:02}.jpg').write_bytes(path.read_bytes() if number != 4 else b'no image')
    common = ['predict', images, '--checkpoint', classifier, '--device', 'cpu', '--parquet', '--shard-size', 2]
    with pytest.raises(SystemExit):
        call(*common, '--out-dir', tmp_path / 'one')
    with pytest.raises(SystemExit):
        call(*common, '--out-dir', tmp_path / 'two')
    for number in (1, 3, 4):
        (tmp_path / f'two/{number:06}.parquet').unlink()
    (tmp_path / 'two/000003.part').write_bytes(b'half')
    kept = (tmp_path / 'two/000000.parquet').stat().st_mtime_ns
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    processes = [Run(tmp_path / f'{rank}.txt', *common, '--out-dir', tmp_path / 'two', '--launcher', 'pytorch',
                     before=partial(be_one_of, rank, 2, port, 'pytorch')) for rank in range(2)]
    assert [process.wait(300) for process in processes] == [1, 0], [process.text for process in processes]
    assert '10 predicted, 1 failed' in processes[0].text and '04.jpg cannot be read' in processes[0].text
    one, two = ([parquet.read_table(path).to_pylist() for path in sorted((tmp_path / name).glob('*.parquet'))]
                for name in ('one', 'two'))
    assert one == two and sum(map(len, one)) == 11
    assert (tmp_path / 'two/000000.parquet').stat().st_mtime_ns == kept
    with raises(ValueError, tmp_path / 'two'):
        call(*common[:-1], 3, '--out-dir', tmp_path / 'two')


@pytest.mark.slow
def test_results_belong_to_a_model_at_any_path(classifier, tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    first, second, *_ = sorted(FLOWERS.rglob('*.jpg'))
    images, out, model = tmp_path / 'images', tmp_path / 'out', tmp_path / 'model.pth'
    images.mkdir()
    (images / '2.jpg').write_bytes(first.read_bytes())
    Image.open(second).save(images / '2.png')
    arguments = ['predict', images, '--out-dir', out, '--device', 'cpu', '--parquet', '--checkpoint']
    with raises(CheckpointError, model):
        call(*arguments, model)
    model.write_bytes(classifier.read_bytes())
    call(*arguments, model)
    table, = out.glob('*.parquet')
    assert parquet.read_table(table)['source'].to_pylist() == [str(images / '2.jpg'), str(images / '2.png')]
    call(*arguments, classifier)  # the same model at another path
    state = torch.load(model, weights_only=True)
    next(iter(state['state_dict'].values())).add_(1)
    torch.save(state, model)
    with raises(UsageError, out, 'model'):
        call(*arguments, model)
    table.unlink()
    call(*arguments, model)
    assert table.exists()
    (out / 'plan.json').unlink()
    with raises(UsageError, out):
        call(*arguments, model)


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
def test_exported_file_has_the_metrics_of_its_checkpoint(config, classifier, tmp_path, monkeypatch, own_loaders):
    monkeypatch.chdir(ROOT)
    call('export', classifier, tmp_path / 'model.onnx', '--config', config)
    for name, model in (('pytorch', classifier), ('onnx', tmp_path / 'model.onnx')):
        call('test', config, model, '--work-dir', tmp_path / name)
    expected, actual = (json.loads(next((tmp_path / name).glob('*/*.json')).read_text())
                        for name in ('pytorch', 'onnx'))
    assert actual['accuracy/top1'] == expected['accuracy/top1']


def test_outputs_have_the_names_of_the_images():
    names = predict.find_sources([str(FLOWERS), 'http://example.org/a/b.png?c=d', 'http://example.org', '0'])
    assert list(names.values())[-3:] == ['b', 'image', 'camera0']
    assert names[str(sorted(FLOWERS.rglob('*.jpg'))[0])].count('/') == 1


def test_a_launcher_must_have_started_the_process(monkeypatch):
    pytest.importorskip('pyarrow')
    monkeypatch.delenv('RANK', raising=False)
    with raises(UsageError, '--launcher pytorch', 'torchrun', '--processes'):
        call('predict', FLOWERS, '--checkpoint', 'none.pth', '--parquet', '--launcher', 'pytorch')


@pytest.mark.parametrize('options', [['--processes', '2'], ['--launcher', 'slurm']])
def test_processes_require_parquet(options):
    with raises(UsageError, '--processes', '--parquet'):
        call('predict', FLOWERS, '--checkpoint', 'none.pth', *options)
