"""Metrics in several processes, where MMEngine's sampler repeats the first images, and drops the last results."""
import json
from pathlib import Path

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import METRICS
from runs import in_two_processes

import mmvit_backbones  # noqa: F401

NUM_IMAGES = 5
SAMPLES = [dict(img_path=f'ILSVRC2012_val_{i + 1:08d}.JPEG', pred_score=torch.eye(10)[best], gt_label=0, img_id=i,
                ori_shape=(50, 50), pred_instances=dict(
                    bboxes=torch.tensor([[0., 0, 10 + best, 10]]), labels=torch.zeros(1, dtype=torch.long),
                    scores=torch.ones(1)))
           for i, best in enumerate((0, 9, 9, 8, 0))]


def evaluated(folder: Path) -> dict[str, dict[str, float]]:
    """Returns the figures of each metric of this package, of images in the order of MMEngine's sampler."""
    options = dict(ImageNetReaL=dict(label_file=f'{folder}/real.json'), PerClassAccuracy={},
                   CocoMetricFromZero=dict(ann_file=f'{folder}/coco.json', metric='bbox'))
    found = {}
    for name, arguments in options.items():
        metric = METRICS.build(dict(type=name, **arguments))
        metric.dataset_meta = dict(classes=['a'] if name.startswith('Coco') else None)
        metric.process({}, [SAMPLES[i] for i in DefaultSampler(range(NUM_IMAGES), shuffle=False)])
        found[name] = metric.evaluate(NUM_IMAGES)
    return found


def in_process(rank: int, folder: Path) -> None:
    found = evaluated(folder)
    if not rank:
        (folder / 'found.json').write_text(json.dumps(found), encoding='utf-8')


def test_figures_do_not_depend_on_the_number_of_processes(tmp_path):
    """The second image has no labels."""
    pytest.importorskip('mmdet')
    (tmp_path / 'real.json').write_text(json.dumps([[0], [], *[[0]] * 49_998]))
    (tmp_path / 'coco.json').write_text(json.dumps(dict(
        images=[dict(id=i, file_name=f'{i}.png', width=50, height=50) for i in range(NUM_IMAGES)],
        annotations=[dict(id=i + 1, image_id=i, category_id=1, bbox=[0, 0, 10, 10], area=100, iscrowd=0)
                     for i in range(NUM_IMAGES)], categories=[dict(id=1, name='a')])))
    alone = evaluated(tmp_path)
    in_two_processes(in_process, tmp_path)
    assert json.loads((tmp_path / 'found.json').read_text()) == alone
    assert alone['ImageNetReaL'] == {'real/top1': 50.}
