"""Trains, tests and draws a pose estimator on images of animals with generated keypoints, in AP-10K's format."""
import json
from importlib.util import find_spec

import pytest
from helpers import ROOT
from tiny_configs import TINY_CONFIGS

if find_spec('mmpose') is None:
    pytest.skip('mmpose is optional and not installed; see docs/pose.md', allow_module_level=True)

SIDE, POINTS = 64, 17


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ap10k')
    (folder / 'annotations').mkdir()
    (folder / 'data').symlink_to(ROOT / 'data/coco_mini/train')
    coco = json.loads((ROOT / 'data/coco_mini/annotations/large_train.json').read_text())
    animals = [x for x in coco['annotations'] if x['category_id'] == 3 and not x['iscrowd']]
    for animal in animals:
        left, top, width, height = animal['bbox']
        points = [(left + width * (i % 5 + 1) / 6, top + height * (i // 5 + 1) / 5, 2) for i in range(POINTS)]
        animal.update(keypoints=[x for point in points for x in point], num_keypoints=POINTS, category_id=1)
    shown = {animal['image_id'] for animal in animals}
    content = dict(coco, annotations=animals, categories=[dict(id=1, name='animal')],
                   images=[image for image in coco['images'] if image['id'] in shown])
    for split in ('train', 'val', 'test'):
        (folder / f'annotations/ap10k-{split}-split1.json').write_text(json.dumps(content))
    return folder


@pytest.mark.training
@pytest.mark.filterwarnings('ignore')  # mmpose 1.3.2 uses deprecated functions of newer packages
def test_training_testing_and_drawing(data, tmp_path, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    channels = TINY_CONFIGS['ViTAEv2']['arch']['embed_dims'][-1]
    config = tmp_path / 'tiny.py'
    config.write_text(f"""
_base_ = '{ROOT}/configs/pose_vitaev2_s.py'
codec = dict(type='MSRAHeatmap', input_size=({SIDE}, {SIDE}), heatmap_size=({SIDE // 4}, {SIDE // 4}), sigma=1)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[5]['input_size'] = test_pipeline[2]['input_size'] = codec['input_size']
train_pipeline[6]['encoder'] = codec
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
test_evaluator = _base_.val_evaluator
backbone = dict(_delete_=True, type='ViTAEv2', out_indices=3, **{TINY_CONFIGS['ViTAEv2']!r})
model = dict(backbone=backbone, head=dict(in_channels={channels}, decoder=codec))
train_cfg = dict(max_epochs=1, val_interval=1)
""")
    run('train', str(config), '--data-root', str(data), '--work-dir', str(tmp_path / 'work'))
    checkpoint, = (tmp_path / 'work').glob('epoch_*.pth')
    run('test', str(config), str(checkpoint), '--data-root', str(data), '--work-dir', str(tmp_path / 'test'))
    scores, = (tmp_path / 'test').rglob('2*/*.json')
    assert 0 <= json.loads(scores.read_text())['coco/AP'] <= 1
    image = next((data / 'data').glob('*.jpg'))
    run('predict', str(image), '--config', str(config), '--checkpoint', str(checkpoint), '--score-thr', '0',
        '--out-dir', str(tmp_path / 'drawn'))
    assert (tmp_path / f'drawn/{image.stem}.png').stat().st_size > 1000
