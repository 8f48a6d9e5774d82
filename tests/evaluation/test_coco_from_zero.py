"""Figures of a detector that found nothing, and of classes."""
import json

import pytest
import torch
from mmengine.registry import METRICS

import mmvit_backbones  # noqa: F401

CLASSES = 'cell', 'nut'  # there is one small cell


@pytest.fixture
def file(tmp_path):
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=number, file_name=f'{number}.png', width=60, height=50) for number in (5, 6)],
        annotations=[dict(id=1, image_id=5, category_id=3, bbox=[10, 10, 20, 20], area=400, iscrowd=0,
                          segmentation=[square])],
        categories=[dict(id=number, name=name) for number, name in zip((3, 7), CLASSES)])))
    return str(path)


def evaluated(file: str, boxes: list, **options) -> dict[str, float]:
    """Returns the figures of cells found in one of two images."""
    pytest.importorskip('mmdet')
    metric = METRICS.build(dict(dict(type='CocoMetricFromZero', ann_file=file, metric=['bbox', 'segm'],
                                     classwise=True), **options))
    metric.dataset_meta = dict(classes=CLASSES)
    for number, found in ((5, boxes), (6, [])):
        masks = torch.zeros(len(found), 50, 60, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, found):
            mask[y1:y2, x1:x2] = True
        metric.process({}, [dict(img_id=number, ori_shape=(50, 60), pred_instances=dict(
            bboxes=torch.tensor(found).reshape(-1, 4), labels=torch.zeros(len(found), dtype=torch.long),
            scores=torch.ones(len(found)), masks=masks))])
    return metric.evaluate(2)


def test_all_figures_are_there_if_nothing_was_found(file, tmp_path):
    found, none = evaluated(file, [[10, 10, 30, 30]]), evaluated(file, [], outfile_prefix=str(tmp_path / 'results'))
    absent = {f'coco/{kind}_mAP_{size}' for kind in ('bbox', 'segm') for size in 'ml'}
    assert absent < none.keys() == found.keys()
    assert none == {name: -1. if name in absent else 0. for name in none}
    assert found == {name: -1. if name in absent else 1. for name in found}
    assert all(json.loads((tmp_path / f'results.{kind}.json').read_text()) == [] for kind in ('bbox', 'segm'))


def test_boxes_and_masks_of_classes_with_objects_have_their_own_figures(file, logged):
    """A wrong mask leaves the figure of the box as it is; classes without objects are not listed."""
    pytest.importorskip('mmdet')
    metric = METRICS.build(dict(type='CocoMetricFromZero', ann_file=file, metric=['bbox', 'segm'], classwise=True))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [dict(img_id=5, ori_shape=(50, 60), pred_instances=dict(
        bboxes=torch.tensor([[10., 10, 30, 30], [0, 0, 9, 9]]), labels=torch.tensor([0, 1]), scores=torch.ones(2),
        masks=torch.zeros(2, 50, 60, dtype=torch.bool)))])
    found = metric.evaluate(1)
    assert {name: value for name, value in found.items() if 'precision' in name} == {
        'coco/bbox_cell_precision': 1., 'coco/segm_cell_precision': 0.}
    told = [text for text in logged.messages if 'category' in text or 'precision of' in text]
    assert ['boxes' in told[0], 'cell' in told[1], 'masks' in told[2], 'cell' in told[3]] == [True] * 4
    assert found['coco/bbox_mAP'] == 1


@pytest.mark.parametrize('max_dets, recall', [(2, 2 / 3), (3, 1.)])
def test_detections_count_up_to_the_number_in_the_name(max_dets, recall, tmp_path):
    boxes = [[10, 10, 30, 30], [0, 0, 9, 9], [30, 30, 50, 50]]
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=number, file_name='a.png', width=60, height=50) for number in (5, 6)],
        annotations=[dict(id=i, image_id=5, category_id=3, bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1),
                          iscrowd=0, segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]])
                     for i, (x1, y1, x2, y2) in enumerate(boxes, 1)],
        categories=[dict(id=number, name=name) for number, name in zip((3, 7), CLASSES)])))
    found = evaluated(str(path), boxes, max_dets=max_dets)
    for kind in 'bbox', 'segm':
        assert found[f'coco/{kind}_AR@{max_dets}'] == pytest.approx(recall, abs=0.001)
        assert found[f'coco/{kind}_mAP@{max_dets}'] == pytest.approx(recall, abs=0.01)
    assert set(evaluated(str(path), [], max_dets=max_dets).values()) == {0., -1.}
