"""`mmvit export` distinguishes networks, checkpoints and files, and refuses options of the other kind."""
from pathlib import Path

import pytest
from helpers import raises
from subcommands import call

pytest.importorskip('onnx')

from mmvit.cli.export import read_names
from mmvit_backbones.errors import UsageError


@pytest.mark.parametrize('names, expected', [
    (['rest_lite'], ('rest_lite', None, Path('rest_lite.onnx'))),
    (['rest_lite', 'a.onnx'], ('rest_lite', None, Path('a.onnx'))),
    (['rest_lite', 'a.pth', 'b.onnx'], ('rest_lite', 'a.pth', Path('b.onnx'))),
    (['a.pth', 'b.onnx'], ('a.pth', None, Path('b.onnx'))), (['b.onnx'], (None, None, Path('b.onnx'))),
    (['https://a/b', 'b.onnx'], ('https://a/b', None, Path('b.onnx'))),
    (['folder', 'b.onnx'], ('folder', None, Path('b.onnx'))),
    (['rest_small'], ('rest_small', None, Path('rest_small.onnx'))),
    (['./rest_small', 'b.onnx'], ('./rest_small', None, Path('b.onnx')))])
def test_names(names, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in 'folder', 'rest_small':
        Path(name).mkdir()  # an existing path is a checkpoint, except for the name of a network
    assert read_names(names) == expected


def test_a_network_with_the_name_of_a_folder_says_how_to_write_the_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in (None, Path('rest_small')):
        if folder:
            folder.mkdir()
        with raises(UsageError, '--fp16'):
            call('export', 'rest_small', '--fp16')
        assert ('./rest_small' in capsys.readouterr().err) == bool(folder)


@pytest.mark.parametrize('arguments, words', [
    (['imagenet_reswin_t', 'a.onnx'], ['imagenet_reswin_t', '--config']),
    (['a.pth', 'b.pth', 'c.onnx'], ['.onnx', 'b.pth']), (['a.pth'], ['the file to write', 'a.pth']),
    (['rest_lite', '--fp16'], ['--fp16', 'models']), (['rest_lite', '--int8', 'x'], ['--int8', 'models']),
    (['a.pth', 'a.onnx', '--opset', '17'], ['--opset', 'networks']),
    (['a.pth', 'a.onnx', '--task', 'classification'], ['--task', 'networks']),
    (['a.onnx'], ['--config', 'checkpoint']), (['a.pth', 'a.bin'], ['.onnx', 'a.bin'])])
def test_wrong_arguments_are_refused(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, *words):
        call('export', *arguments)
    assert not list(tmp_path.iterdir())
