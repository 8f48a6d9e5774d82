"""Every config builds, with its backbone and the framework it is for, and says what was published."""
import math
import subprocess
import sys

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope


def recipes() -> list:
    """Configs without the demonstrations, which test_training.py trains; slow but for one network."""
    return [pytest.param(path, id=path.stem, marks=[] if 'reswin_t' in path.stem else [pytest.mark.slow])
            for path in sorted(ROOT.glob('configs/*.py'))]


@pytest.mark.parametrize('path', recipes())
def test_builds(path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    with torch.device('meta'):
        model = MODELS.build(config.model)
    backbone = config.model.backbone
    assert type(model.backbone).__name__ == backbone.type
    rates = [module.drop_prob for module in model.backbone.modules() if type(module).__name__ == 'DropPath']
    assert max(rates) == pytest.approx(backbone.drop_path_rate)


@pytest.mark.parametrize('name, images, peak, first, last, warmup_epochs, decay, clip', [
    ('reswin_t', 2048, 1e-3, 4e-5, 4e-5, 20, 0.05, None),
    ('remvitv2_t', 4096, 2e-3, 8e-5, 8e-5, 70, 0.05, 1.),
    ('revit_b', 8192, 1e-3, 1.6e-6, 4.8e-6, 30, 0.3, 1.),
])
def test_recipes_of_attention_residuals(name, images, peak, first, last, warmup_epochs, decay, clip):
    """As published, on 2 GPUs: images per update, learning rates, warm-up, weight decay, clipping."""
    config = Config.fromfile(ROOT / f'configs/imagenet_{name}.py')
    warmup, cosine = config.param_scheduler
    optimizer = config.optim_wrapper.optimizer
    assert config.train_dataloader.batch_size * 2 * config.optim_wrapper.accumulative_counts == images
    assert optimizer.lr * warmup.start_factor == pytest.approx(first) and cosine.eta_min == last
    assert warmup.end == cosine.begin == warmup_epochs and cosine.end == config.train_cfg.max_epochs == 300
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', peak, decay)
    assert config.optim_wrapper.get('clip_grad', {}).get('max_norm') == clip
    augments = config.model.train_cfg.augments
    assert len(config.train_dataloader.dataset.pipeline) == 6
    assert augments['type'] == 'Mixup' if name == 'reswin_t' else len(augments) == 2


def learning_rates(config) -> list[float]:
    """Of every epoch, at its start."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=config.optim_wrapper.optimizer.lr)
    schedulers = [PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer, convert_to_iter_based=False))
                  for scheduler in config.param_scheduler]
    rates = []
    for _ in range(config.train_cfg.max_epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


@pytest.mark.parametrize('name, floor', [('vitaev2_s', 1e-5), ('vitaev2_48m', 2e-5)])
def test_schedule_of_vitaev2(name, floor):
    """Published: a cosine counted from epoch 0 to 300, ten epochs of warm-up in its place, ten at its floor."""
    rates = learning_rates(Config.fromfile(ROOT / f'configs/imagenet_{name}.py'))
    assert len(rates) == 310 and rates[0] == pytest.approx(1e-6, rel=0.01)
    for epoch in (10, 50, 150, 250, 299):
        published = floor + (1e-3 - floor) * (1 + math.cos(math.pi * epoch / 300)) / 2
        assert rates[epoch] == pytest.approx(published, rel=0.01), epoch
    assert rates[305] == pytest.approx(floor, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize('name, exempt', [
    ('reswin_t', ('norm', 'relative_position_bias_table')), ('remvitv2_t', ('norm', 'rel_pos', 'gate')),
    ('revit_b', ('norm', 'pos_embed', 'gate'))])
def test_no_weight_decay_on_norms_positions_and_gate(name, exempt):
    from mmengine.optim import build_optim_wrapper
    config = Config.fromfile(ROOT / f'configs/mask_rcnn_{name}.py')
    with torch.device('meta'):
        backbone = MODELS.build(dict(config.model.backbone, init_cfg=None))
    wrapper = build_optim_wrapper(torch.nn.ModuleDict(dict(backbone=backbone)), config.optim_wrapper)
    decayed = {id(p): group['weight_decay'] > 0 for group in wrapper.param_groups for p in group['params']}
    for parameter_name, parameter in backbone.named_parameters():
        assert decayed[id(parameter)] != any(part in parameter_name for part in exempt), parameter_name


@pytest.mark.slow
def test_import_leaves_the_frameworks_alone():
    frameworks = {'mmcv.ops', 'mmdet', 'mmseg', 'mmpretrain'}
    code = f'import sys, mmvit_backbones; print({frameworks!r} & sys.modules.keys())'
    result = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == 'set()', result.stdout + result.stderr
