"""Average precision and recall at more than 100 detections per image."""
import json

import numpy as np
import pytest
import torch
from helpers import raises
from pycocotools import mask as run_lengths

from mmvit_backbones.errors import UsageError
from mmvit_backbones.evaluation import CocoMetricAt

BOXES = [[16. * x, 16. * y, 12., 12.] for y in range(15) for x in range(15)]
NAMES, IDS = ('cell', 'nut'), (7, 3)  # of the classes, not in the order of the ids


def mask_of(box: list[float]) -> torch.Tensor:
    mask, (x, y, width, height) = torch.zeros(240, 240, dtype=torch.bool), map(int, box)
    mask[y:y + height, x:x + width] = True
    return mask


@pytest.fixture
def file(tmp_path):
    objects = [dict(id=i + 1, image_id=5, category_id=IDS[i % 2], bbox=box, area=144., iscrowd=0,
                    segmentation=run_lengths.encode(np.asfortranarray(mask_of(box).numpy())))
               for i, box in enumerate(BOXES)]
    for each in objects:
        each['segmentation']['counts'] = each['segmentation']['counts'].decode()
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=5, file_name='a.png', width=240, height=240)], annotations=objects,
        categories=[dict(id=number, name=name) for name, number in zip(NAMES, IDS)])))
    return str(path)


def evaluated(file: str, max_dets: int, detections: slice, names=NAMES) -> dict[str, float]:
    """Returns the figures of detections that equal some of the objects."""
    pytest.importorskip('mmdet')
    boxes = torch.tensor(BOXES)[detections]
    found = dict(bboxes=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
                 labels=torch.arange(len(BOXES))[detections] % 2, scores=torch.linspace(1, 0.5, len(boxes)),
                 masks=torch.stack([torch.zeros(240, 240, dtype=torch.bool), *map(mask_of, boxes.tolist())])[1:])
    metric = CocoMetricAt(file, max_dets, metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=names)
    metric.process({}, [dict(img_id=5, pred_instances=found)])
    return metric.evaluate(1)


@pytest.mark.parametrize('max_dets, share', [(300, 1.), (50, 100 / 225)])  # detections of each class count
def test_detections_count_up_to_the_number_in_the_name(max_dets, share, file):
    figures = evaluated(file, max_dets, slice(None))
    assert set(figures) == {f'coco/{kind}_{name}@{max_dets}' for kind in ('bbox', 'segm') for name in ('mAP', 'AR')}
    assert all(value == pytest.approx(share, abs=0.02) for value in figures.values())


def test_no_detections_are_no_error(file):
    assert set(evaluated(file, 300, slice(0)).values()) == {0.}


def test_a_class_that_the_file_lacks_is_named(file):
    with raises(UsageError, 'cell', 'nut', 'not bolt', file):
        evaluated(file, 300, slice(None), names=('cell', 'bolt'))
