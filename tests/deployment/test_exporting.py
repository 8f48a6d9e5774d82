"""Exports choose images to compare, are refused for their own faults only, and replace only by complete files."""
import sys
from pathlib import Path

import pytest
from helpers import ROOT, raises
from PIL import Image

pytest.importorskip('onnx')

from mmvit.configs.files import read_config
from mmvit.deployment import export_model
from mmvit.deployment.agreement import compare_in_runtimes
from mmvit.deployment.sample_images import images_to_compare
from mmvit.inference.runtimes import Exported, installed_runtimes
from mmvit_backbones.errors import UsageError


def test_missing_packages_are_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with raises(UsageError, 'need onnxscript', 'mmvit_backbones[export]'):
        export_model('a.pth', tmp_path / 'a.onnx')
    assert not list(tmp_path.iterdir())


@pytest.fixture
def files(tmp_path):
    """Returns the paths of twenty images whose colors are their numbers."""
    paths = [tmp_path / f'images/{number:02}.png' for number in range(20)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        Image.new('RGB', (2, 2), (number, 0, 0)).save(path)
    return paths


def test_images_to_compare(files):
    """The images are the given ones, else those of the test set, else generated ones."""
    folder = str(files[0].parent)
    cfg = read_config(str(ROOT / 'tests/configs/imagenet_reswin_t.py'))
    cfg.test_dataloader.dataset.update(data_root=str(ROOT / 'data/flowers_mini'), data_prefix='val', ann_file='')

    assert [image[0, 0, 0] for image in images_to_compare(cfg, [folder])[0]] == [0, 2, 5, 8, 10, 13, 16, 19]
    assert 'test set' in images_to_compare(cfg)[1]
    cfg.test_dataloader.dataset.data_root = folder
    images, origin = images_to_compare(cfg)
    assert images[0].shape == (480, 640, 3) and 'generated' in origin


# ---- a file that must agree with PyTorch in ONNX Runtime, and may differ in other runtimes


@pytest.mark.parametrize('fails', [False, True])
def test_another_runtime_may_differ_or_fail(fails, tmp_path):
    def figures_in(runtime: str) -> dict[str, float]:
        if fails and runtime != 'onnxruntime':
            Exported(tmp_path, runtime)  # a folder
        return dict(scores=float(runtime != 'onnxruntime'))

    found = compare_in_runtimes(tmp_path, figures_in)
    assert found.keys() == {*installed_runtimes()} and not found.pop('onnxruntime').deviation
    told = 'fails with' if fails else 'scores 1 (limit 0.001)'
    assert all(told in agreement.deviation for agreement in found.values())
    with raises(UsageError):
        compare_in_runtimes(tmp_path, lambda runtime: Exported(tmp_path, runtime) and {}, True)


@pytest.mark.parametrize('pixels, allowed', [(0.999, False), (0.98, True), (0.98, False), (float('nan'), False)])
def test_onnx_runtime_must_agree(pixels, allowed):
    arguments = Path('a.onnx'), lambda runtime: dict(pixels=pixels), allowed
    if pixels == 0.999 or allowed:
        assert bool(compare_in_runtimes(*arguments)['onnxruntime'].deviation) == (pixels < 0.999)
    else:
        with raises(UsageError, 'a.onnx was not written', 'onnxruntime', f'pixels {pixels}', '--allow-accuracy-drop'):
            compare_in_runtimes(*arguments)
