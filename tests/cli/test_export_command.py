"""`mmvit export` reads its arguments, chooses images to compare, and replaces existing files only by complete ones."""
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import ROOT, raises
from PIL import Image
from subcommands import call, parser_of

pytest.importorskip('onnx')

from mmvit_backbones.cli import export
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.utils.config import load_config


@pytest.mark.parametrize('words, expected', [
    (['rest_lite'], ('rest_lite', None, None)), (['rest_lite', 'a.onnx'], ('rest_lite', None, Path('a.onnx'))),
    (['rest_lite', 'a.pth', 'b.onnx'], ('rest_lite', 'a.pth', Path('b.onnx'))),
    (['a.pth', 'b.onnx'], (None, 'a.pth', Path('b.onnx'))), (['b.onnx'], (None, None, Path('b.onnx'))),
    (['https://a/b', 'b.onnx'], (None, 'https://a/b', Path('b.onnx'))), (['folder'], (None, 'folder', None))])
def test_words(words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('folder').mkdir()  # an existing path is a checkpoint, not a network
    assert export.read_words(words) == expected


@pytest.mark.parametrize('arguments, words', [
    (['imagenet_reswin_t', 'a.onnx'], ['imagenet_reswin_t', '--config']),
    (['a.pth', 'b.pth', 'c.onnx'], ['.onnx', 'b.pth']), (['a.pth'], ['the file to write', 'a.pth']),
    (['rest_lite', '--fp16'], ['--fp16', 'models']), (['rest_lite', '--int8', 'x'], ['--int8', 'models']),
    (['a.pth', 'a.onnx', '--opset', '17'], ['--opset', 'networks']),
    (['a.pth', 'a.onnx', '--task', 'classification'], ['--task', 'networks']),
    (['a.onnx'], ['--config', 'checkpoint']), (['a.pth', 'a.bin'], ['.onnx', 'a.bin'])])
def test_mistakes_are_reported(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, *words):
        call('export', *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('package, options, words', [
    ('onnxscript', [], ['needs onnxscript', 'mmvit_backbones[export]']),
    ('mmpretrain.models', ['--task', 'classification'], ['mmpretrain', 'pip install', '--task backbone'])])
def test_missing_packages_are_reported(package, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with raises(UsageError, *words):
        call('export', 'rest_lite', *options)
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_is_reported(tmp_path):
    with raises(CheckpointError, tmp_path, 'best_*.pth', 'last_checkpoint'):
        call('export', tmp_path, tmp_path / 'a.onnx')


def test_files_are_replaced_only_when_complete(tmp_path):
    path = tmp_path / 'model.onnx'
    for suffix in '', '.data', '.json':
        Path(f'{path}{suffix}').write_text('old')
    for error in UsageError, KeyboardInterrupt:
        with pytest.raises(error), export.written_when_complete(path) as partial:
            partial.write_text('new')
            raise error('no')
        assert path.read_text() == 'old' and len(list(tmp_path.iterdir())) == 3
    with export.written_when_complete(path) as partial:
        partial.write_text('new')
        Path(f'{partial}.json').write_text('new')
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(
        ['model.onnx', 'model.onnx.json'], 'new')


def test_generated_images_look_like_photos(capsys):
    images = export.generated_images()
    assert [image.shape for image in images] == 2 * [(480, 640, 3), (640, 480, 3), (375, 500, 3), (427, 640, 3)]
    assert 'generated images' in capsys.readouterr().out
    for image in images:
        assert image.dtype == np.uint8 and 90 < image.mean() < 166 and 50 < image.std() < 90
        assert np.abs(np.diff(image.astype(int), axis=1)).mean() < 12  # smooth
    assert len({image.tobytes() for image in images}) == 8


@pytest.fixture
def files(tmp_path):
    """Returns the paths of twenty images whose colors are their numbers."""
    paths = [tmp_path / f'images/{number:02}.png' for number in range(20)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        Image.new('RGB', (2, 2), (number, 0, 0)).save(path)
    return paths


def test_images_are_chosen_evenly(files):
    assert [[int(image[0, 0, 0]) for image in export.read(files[:number], count)] for number, count in (
        (20, 3), (20, 1), (2, 8), (1, 8))] == [[0, 9, 19], [0], [0, 1], [0]]


def test_images_to_compare(files):
    """The images are those of --images, else the test set, else those of --int8, else generated ones."""
    folder = str(files[0].parent)
    cfg = load_config(str(ROOT / 'tests/configs/imagenet_reswin_t.py'))
    cfg.test_dataloader.dataset.update(data_root=str(ROOT / 'data/flowers_mini'), data_prefix='val', ann_file='')

    def numbers(uses_test_set: bool = False, **arguments) -> list[int]:
        args = SimpleNamespace(**{'images': None, 'int8': None, **arguments})
        return [int(image[0, 0, 0]) for image in export.images_to_compare(args, cfg, uses_test_set)]

    assert numbers(images=[folder]) == [0, 2, 5, 8, 10, 13, 16, 19]
    assert numbers(int8=folder) == [1, 3, 5, 7, 11, 13, 15, 19]  # not those for calibration
    assert export.images_to_compare(SimpleNamespace(images=None, int8=None), cfg, False)[0].shape == (480, 640, 3)
    assert export.has_test_set(cfg, False) and len(numbers(True, int8=folder)) == 8
    cfg.test_dataloader.dataset.data_root = folder
    assert not export.has_test_set(cfg, False)
    with raises(UsageError, '--images'):
        export.has_test_set(cfg, True)


@pytest.mark.parametrize('after, accept_loss', [(0.792, False), (0.7, True), (0.7, False)])
def test_int8_may_lose_one_percent_of_the_metric(after, accept_loss, capsys):
    arguments = (SimpleNamespace(accept_loss=accept_loss), Path('a.onnx'), dict(metric='mIoU', value=0.8),
                 dict(metric='mIoU', value=after))
    if after < 0.79 and not accept_loss:
        with raises(UsageError, 'a.onnx was not written', 'mIoU', '0.8', '0.7', '1%', '--accept-loss'):
            export.check_metric(*arguments)
    else:
        export.check_metric(*arguments)
    assert f'0.8 in float32 and {after} in int8' in capsys.readouterr().out


@pytest.mark.parametrize('agreement, accept_loss', [(0.99, False), (0.98, True), (0.98, False)])
def test_a_file_that_differs_too_much_is_refused(agreement, accept_loss, tmp_path, capsys):
    (tmp_path / 'partial').write_bytes(bytes(2**20))
    (tmp_path / 'partial.data').write_bytes(bytes(2**21))
    comparison = SimpleNamespace(inputs=[1, 2], figures=lambda path, limits, runtime: dict(agreement=agreement))
    arguments = (SimpleNamespace(accept_loss=accept_loss), Path('a.onnx'), tmp_path / 'partial', comparison,
                 dict(agreement=0.99))
    if agreement < 0.99 and not accept_loss:
        with raises(UsageError, 'a.onnx was not written', 'agreement', '--accept-loss'):
            export.check(*arguments)
    else:
        export.check(*arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ['a.onnx: 3.0 MiB; compared with PyTorch on 2 images',
                         f'onnxruntime: agreement {agreement} (limit 0.99)']


def test_defaults():
    args = parser_of('export').parse_args(['rest_lite'])
    assert (args.task, args.preprocessing, args.license) == ('backbone', 'inside', 'not stated')
    assert not (args.accept_loss or args.fp16 or args.int8 or args.pretrained)


def test_progress_is_printed_while_a_step_takes_long(capsys, monkeypatch):
    monkeypatch.setattr(export, 'SECONDS_PER_LINE', 0.01)
    text = ''
    with export.progress('comparing'):
        while 'comparing: 0 s' not in text:
            text += capsys.readouterr().err
    assert text.startswith('comparing ...\n')
