"""Published curves belong to the recipes of this package."""
import pytest
from helpers import ROOT
from mmengine.config import Config

from mmvit.drawing.curves import CURVES
from mmvit_backbones.zoo.published import RESULTS

MAIN = {'imagenet': ('accuracy/top1', 'top1', 1), 'mask': ('coco/bbox_mAP', 'box', 100),
        'cascade': ('coco/bbox_mAP', 'box', 100), 'upernet': ('mIoU', 'ade20k', 1)}


@pytest.mark.parametrize('name', CURVES)
def test_curves_belong_to_recipes(name):
    """The recipe has the length of the published run, and the published result is in the curve."""
    curve, config = CURVES[name], Config.fromfile(ROOT / f'configs/{name}.py')
    assert config.train_cfg.get(f'max_{"epochs" if curve.unit == "epoch" else "iters"}') == curve.length
    metric, key, factor = MAIN[name.split('_')[0]]
    values = curve.values(metric)
    assert 1 <= min(values) and max(values) <= curve.length
    if 'independent' not in curve.remark:
        assert min(abs(factor * value - RESULTS[name][key]) for value in values.values()) < 0.05


def test_epochs_are_counted_from_1():
    """The published logs of classifiers begin with epoch 0. Not all logs have figures of averaged weights."""
    curve = CURVES['imagenet_vitaev2_s']
    assert curve.values('lr')[1] == 1e-6
    assert curve.values('accuracy/top1')[275] == 82.63 and 275 - 1 == 274  # the epoch in the log
    assert CURVES['imagenet_regionvit_t'].values('accuracy/top1')
    assert CURVES['upernet_vitaev2_s'].values('mIoU')[16000] == 38.6
