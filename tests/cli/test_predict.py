"""Tests the files that `mmvit predict` writes, and `mmvit test` with exported files."""
import json
from pathlib import Path

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT, save_run
from mmengine.config import Config
from mmengine.registry import init_default_scope
from runs import TINY
from subcommands import call

from mmvit.frameworks.building import build_model
from mmvit.utils.config_parts import datasets_of

FLOWERS = ROOT / 'data/flowers_mini/val'


def checkpoint_of(cfg, folder):
    """Saves a checkpoint with its config, like a training."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    classes = list((datasets_of(cfg, 'test')[0].get('metainfo') or {}).get('classes') or ())
    return save_run(cfg, build_model(cfg), folder / 'model.pth', dataset_meta=dict(classes=classes))


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
def test_names_of_configs_and_published_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    torch.save(fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32), 'vitae_tiny.pth')
    call('predict', ROOT / 'data/coco_mini/val/000000000285.jpg', '--config', 'imagenet_vitae_t', '--pretrained')
    assert '000000000285.png' in capsys.readouterr().out and Path('predictions/000000000285.png').exists()


@pytest.mark.compiler
@pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # mmpretrain's script sets it
@pytest.mark.usefixtures('symbolic_shapes')
def test_exported_file_has_the_metrics_of_its_checkpoint(
        config, classifier, tmp_path, monkeypatch, own_loaders, capsys):
    monkeypatch.chdir(ROOT)
    call('export', classifier, tmp_path / 'model.onnx', '--config', config)
    call('test', config, classifier, '--work-dir', tmp_path)
    capsys.readouterr()
    call('test', config, tmp_path / 'model.onnx')
    expected = json.loads(next(tmp_path.glob('*/*.json')).read_text())['accuracy/top1']
    assert ['accuracy/top1', f'{expected:.4g}'] in [line.split() for line in capsys.readouterr().out.splitlines()]
