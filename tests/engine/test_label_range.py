"""Labels that are no classes end a training with the name of the mask."""
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fine_tunings import STREETS, recipe
from helpers import raises
from mmengine.evaluator import Evaluator
from mmengine.registry import HOOKS
from mmengine.structures import PixelData
from PIL import Image
from torch import nn

from mmvit.running import train
from mmvit_backbones.errors import TrainingError


@pytest.mark.parametrize('classes, ignored, labels, wrong', [
    (3, 255, [0, 2, 255], None), (3, 255, [3, 255], 3), (3, 7, [0, 7], None), (3, 7, [0, 255], 255), (3, 255, [-1], -1),
    (3, -100, [-100], None), (1, 255, [0, 1], None), (1, 255, [2], 2)])
@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_labels_of_a_batch(split, classes, ignored, labels, wrong):
    """The loss ignores a label in the training, and metrics one in validation and test."""
    from mmseg.evaluation import IoUMetric
    from mmseg.structures import SegDataSample
    head = nn.Module()
    head.num_classes, head.ignore_index = classes, ignored if split == 'train' else 11
    sample = SegDataSample(metainfo=dict(seg_map_path='masks/7.png'))
    sample.gt_sem_seg = PixelData(data=torch.tensor(labels).reshape(1, 1, -1))
    batch = dict(data_samples=[SegDataSample(), sample])
    check = getattr(HOOKS.build(dict(type='LabelRangeHook')), f'before_{split}_iter')
    runner = SimpleNamespace(model=nn.Module())
    runner.val_evaluator = runner.test_evaluator = Evaluator([IoUMetric(ignored)])
    check(runner, 0, batch)  # without a decode head
    for runner.model.decode_head in head, nn.ModuleList([nn.Module(), head]):
        if wrong is None:
            check(runner, 0, batch)
            continue
        with raises(TrainingError, 'masks/7.png', f'the label {wrong};', f'0 to {max(classes, 2) - 1} and {ignored}'):
            check(runner, 0, batch)


@pytest.mark.workflow
@pytest.mark.filterwarnings('ignore:The draw is False')  # a warning of mmseg's default visualization hook
def test_a_training_names_the_mask(tmp_path, frameworks):
    """A config's data are not read whole before the training."""
    folder = shutil.copytree(STREETS, tmp_path / 'streets')
    for path in Path(folder, 'masks/train').iterdir():
        labels = np.array(Image.open(path))
        labels[:] = 200
        Image.fromarray(labels).save(path)
    cfg = recipe(tmp_path, 'seg_folder', seg_folder=str(folder), size=32, epochs=1, workers=0)
    with raises(TrainingError, 'masks/train/', 'the label 200'):
        train(cfg)
