"""`mmvit test --show-dir` draws annotations and predictions, into one file per image."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from PIL import Image

from mmvit_backbones.cli import testing
from mmvit_backbones.inference.results import result_of

MASK = np.zeros((1, 60, 80), np.uint8)
MASK[:, 10:30, 10:40] = 1


def detection():
    box = torch.tensor([[10., 10., 40., 30.]])
    sample = DetDataSample()
    sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([1]), masks=BitmapMasks(MASK, 60, 80))
    sample.pred_instances = InstanceData(bboxes=box, labels=torch.tensor([0]), scores=torch.tensor([0.9]),
                                         masks=torch.from_numpy(MASK).bool())
    return sample


def segmentation():
    labels = torch.from_numpy(MASK).long()
    return SegDataSample(gt_sem_seg=PixelData(data=torch.where(labels == 0, 255, labels)),
                         pred_sem_seg=PixelData(data=labels))


def classification():
    return DataSample().set_gt_label(1).set_pred_score(torch.tensor([0.8, 0.2]))


@pytest.mark.parametrize('make', [detection, segmentation, classification])
def test_annotations_and_predictions_are_drawn(make, tmp_path):
    (tmp_path / 'data/val').mkdir(parents=True)
    Image.new('RGB', (80, 60), 'gray').save(tmp_path / 'data/val/a.jpg')
    sample = make()
    sample.set_metainfo(dict(img_path=str(tmp_path / 'data/val/a.jpg')))
    dataset = SimpleNamespace(metainfo=dict(classes=('cat', 'dog')), data_root=str(tmp_path / 'data'))
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    testing.DrawingHook(str(tmp_path / 'out'), 0.3).after_test_iter(runner, 0, {}, [sample])
    drawing = Image.open(tmp_path / 'out/val/a.png')
    assert drawing.size == (2 * 7 * 80, 7 * 60)  # enlarged to keep the labels readable
    left, right = np.split(np.asarray(drawing), 2, axis=1)
    assert (left != right).any() and len(np.unique(left.reshape(-1, 3), axis=0)) > 2


def test_the_annotated_class_is_drawn():
    image = np.zeros((60, 80, 3), np.uint8)
    result = result_of(testing.annotated(classification()), 'a.jpg', image, ['cat', 'dog'], [])
    assert result.items() == [dict(label=1, score=1.)]


def test_average_precision_per_class():
    cfg = Config(dict(default_scope='mmdet', test_evaluator=dict(type='CocoMetric')))
    testing.add_class_figures(cfg)
    assert cfg.test_evaluator.to_dict() == dict(type='CocoMetric', classwise=True)
