"""Steps of the training of whole models."""
import pytest
import torch
import yaml
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import MODELS

from mmvit.measuring import benchmark
from mmvit_backbones.errors import UsageError

ARCH = yaml.safe_load((ROOT / 'tests/goldens/revit/tiny_configs.yml').read_text())['ReSwin']['arch']
TINY = f'model = dict(backbone=dict(arch=dict(_delete_=True, **{ARCH})), '
CONFIGS = dict(
    mask_rcnn_reswin_t='neck=dict(in_channels=[16, 32, 64, 128]))',
    upernet_reswin_t_camvid='decode_head=dict(in_channels=[16, 32, 64, 128]), auxiliary_head=dict(in_channels=64))',
    imagenet_reswin_t='head=dict(in_channels=128))')


@pytest.fixture
def config(tmp_path):
    def write(name, rest=''):
        path = tmp_path / f'{len(list(tmp_path.iterdir()))}_{name}.py'
        path.write_text(f'_base_ = {str(ROOT / f"tests/configs/{name}.py")!r}\n{TINY}{CONFIGS[name]}\n{rest}\n')
        return str(path)
    return write


@pytest.mark.parametrize('name', [
    'mask_rcnn_reswin_t', 'upernet_reswin_t_camvid', 'imagenet_reswin_t'])
def test_a_step_of_a_config(name, config):
    precision = 'float32' if name == 'mask_rcnn_reswin_t' else 'bfloat16'
    large, = benchmark([config(name)], size=(64, 96), repeats=1, precision=precision).rows
    table = benchmark([config(name)], size=(32, 48), repeats=1)
    row, = table.rows
    assert '32 x 48 (height x width), batch 2' in table.about and name in str(table)
    assert row['step_ms'] > 0 and row['images_per_second'] > 0
    assert row['saved_bytes_per_image'] < large['saved_bytes_per_image']


def test_a_step_of_a_training_in_its_work_dir(config, tmp_path):
    run = tmp_path / 'run'
    run.mkdir()
    Config.fromfile(config('imagenet_reswin_t')).dump(run / 'config.py')
    row, = benchmark([str(run)], size=32, repeats=1).rows
    assert row['model'] == 'run' and row['step_ms'] > 0


@pytest.mark.parametrize('options, words', [
    (dict(networks=['rest_lite', 'mask_rcnn_reswin_t']), ['rest_lite', 'no config']),
    (dict(networks=['mask_rcnn_reswin_t'], dense=True), ['dense', 'networks', 'work dirs']),
    (dict(networks=['mask_rcnn_reswint.py']), ['mask_rcnn_reswint.py', 'mask_rcnn_reswin_t']),
    (dict(networks=['mask_rcnn_reswin_t', 'upernet_reswin_t']), ['one framework', 'mmdet and mmseg']),
    (dict(networks=['upernet_reswin_t'], size=(1, 2, 3)), ['size', '(1, 2, 3)'])])
def test_wrong_arguments_are_refused(options, words):
    with raises(UsageError, *words):
        benchmark(**options)


class FullMemory(BaseModule):
    """A backbone that needs more than the memory of a GPU."""

    def forward(self, images):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of ...')


def test_full_memory_is_a_row_of_its_own(config, own_mmengine):
    MODELS.register_module(module=FullMemory)
    full = config('imagenet_reswin_t', "model = dict(backbone=dict(_delete_=True, type='FullMemory'))")
    table = benchmark([full, config('imagenet_reswin_t')], size=32, repeats=1)
    assert '2.00 GiB' in table.rows[0]['error'] and 'step_ms' not in table.rows[0]
    assert table.rows[1]['step_ms'] > 0 and 'failed: the memory of the GPU is full' in str(table)
