"""Exported files predict what the framework does, for one model per task and kind of network."""
import numpy as np
import pytest
from helpers import ROOT
from mmengine.config import Config
from PIL import Image
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.cli.config import UsageError
from mmvit_backbones.deploy.export import box_ious, check_agreement, compare
from mmvit_backbones.deploy.parts import check_exportable

IMAGES = [np.array(Image.open(path).convert('RGB')) for path in sorted(ROOT.glob('data/coco_mini/val/*.jpg'))[:2]]
SMALL = 64, 64


def shrunk(name: str, network: str) -> Config:
    """A demonstration's config with a tiny network and small images."""
    cfg = Config.fromfile(ROOT / f'configs/demo/{name}.py')
    cfg.model.backbone = dict(type=network, **TINY_CONFIGS[network])
    return cfg


@pytest.mark.parametrize('change, message', [
    (dict(model=dict(type='DINO')), 'DINO .* cannot be exported; of mmdet, allowed are RetinaNet'),
    (dict(model=dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))))), 'soft_nms has no graph'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='RandomFlip')]))), 'step RandomFlip'),
])
def test_what_has_no_graph_is_refused(change, message):
    cfg = Config.fromfile(ROOT / 'configs/demo/mask_rcnn_reswin_t.py')
    cfg.merge_from_dict(change)
    with pytest.raises(UsageError, match=message):
        check_exportable(cfg)


def test_comparison_sees_other_boxes():
    prediction = dict(labels=np.array([0, 1]), scores=np.array([.9, .8], 'f'),
                      boxes=np.array([[0, 0, 9, 9], [5, 5, 20, 30]], 'f'))
    assert check_agreement(compare(prediction, prediction))
    for change in (dict(scores=prediction['scores'] - 0.01), dict(boxes=prediction['boxes'] + 2),
                   dict(labels=prediction['labels'][::-1])):
        assert not check_agreement(compare(prediction, {**prediction, **change}))
    assert box_ious(np.array([[0, 0, 2, 2.]]), np.array([[1, 0, 3, 2.]]))[0, 0] == pytest.approx(1 / 3)
