"""Recipes of detectors follow from their objects: how many are found in an image, and images without any."""
import json
from pathlib import Path

import pytest
import torch
from fine_tunings import recipe
from helpers import raises
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image
from tiny_configs import TINY_CONFIGS

from mmvit.running.rehearsal import rehearse
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')

SIDE = 64
TINY = dict(type='ResT', **TINY_CONFIGS['ResT'])


def write_boxes(folder: Path, *, train: list[int], val: list[int]) -> str:
    """Writes a folder of images with as many objects, with boxes and masks of one side in pixels, as are given."""
    side = 20
    (folder / 'annotations').mkdir(parents=True)
    for part, counts in dict(train=train, val=val).items():
        (folder / part).mkdir()
        content = dict(images=[], annotations=[], categories=[dict(id=1, name='cell')])
        for i, count in enumerate(counts):
            Image.effect_noise((SIDE, SIDE), 50).convert('RGB').save(folder / f'{part}/{i}.png')
            content['images'].append(dict(id=i, file_name=f'{i}.png', width=SIDE, height=SIDE))
            for number in range(count):
                x, y = number % 40, number // 40
                content['annotations'].append(dict(
                    id=1 + len(content['annotations']), image_id=i, category_id=1, bbox=[x, y, side, side],
                    area=side**2, iscrowd=0,
                    segmentation=[[x, y, x + side, y, x + side, y + side, x, y + side]]))
        (folder / f'annotations/instances_{part}.json').write_text(json.dumps(content))
    return str(folder)


@pytest.mark.parametrize('light', [False, True])
@pytest.mark.parametrize('train, val, detections', [([3], [2], 100), ([5, 225], [1], 300), ([1], [101], 200),
                                                    ([1200], [1], 1000)])
def test_as_many_objects_are_found_as_images_have(train, val, detections, light, tmp_path):
    folder = write_boxes(tmp_path / 'data', train=train, val=val)
    cfg = recipe(tmp_path, 'coco_folder', TINY, coco_folder=folder, light=light)
    assert cfg.model.test_cfg.rcnn.max_per_img == detections
    proposals = max(500 if light else 1000, 2 * detections)
    for rpn in cfg.model.test_cfg.rpn, cfg.model.train_cfg.rpn_proposal:
        assert rpn.max_per_img == proposals <= rpn.nms_pre
    assert cfg.val_evaluator.get('max_dets') == (detections if detections > 100 else None)


def test_light_heads_are_narrower(tmp_path):
    folder = write_boxes(tmp_path / 'data', train=[3], val=[2])
    full, light = (recipe(tmp_path, 'coco_folder', TINY, coco_folder=folder, light=light) for light in (False, True))
    for cfg, width in (full, 256), (light, 128):  # 256 is mmdet's
        head = cfg.model.roi_head
        assert [cfg.model.neck.out_channels, cfg.model.rpn_head.in_channels, head.bbox_head.in_channels,
                head.mask_head.in_channels, head.mask_head.conv_out_channels] == [width] * 5
    assert light.model.train_cfg.rcnn.sampler.num < full.model.train_cfg.rcnn.sampler.num == 512
    assert light.recipe.light and 'light Mask R-CNN' in light.text


def test_images_without_objects_are_trained_on(tmp_path):
    """A batch of them alone gives every parameter a gradient, as processes that average gradients need."""
    folder = write_boxes(tmp_path / 'data', train=[0, 0, 0, 2], val=[1])
    cfg = recipe(tmp_path, 'coco_folder', TINY, coco_folder=folder, size=SIDE, light=True)
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 4
    model = MODELS.build(cfg.model).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = model.train_step(pseudo_collate([dataset[0], dataset[1]]), optimizer)
    assert all(torch.isfinite(loss) for loss in losses.values()) and 'loss_mask' in losses
    optimizer.zero_grad()
    loss, _ = model.parse_losses(model(**model.data_preprocessor(pseudo_collate([dataset[0]]), True), mode='loss'))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


# ---- strides

RESNET = dict(type='mmdet.ResNet', depth=18, out_indices=(1, 2, 3))  # without the map of stride 4


def test_a_network_has_the_same_maps_by_its_name_and_by_the_config_of_its_classifier(tmp_path):
    import mmpretrain
    config = f'{mmpretrain.__path__[0]}/.mim/configs/resnet/resnet50_8xb32_in1k.py'
    named, by_config = (recipe(tmp_path / str(i), 'coco_folder', network).model
                        for i, network in enumerate(('resnet50', config)))
    assert by_config.neck == named.neck and by_config.rpn_head == named.rpn_head


@pytest.mark.parametrize('network', [
    'timm:vit_small_patch14_dinov2', 'timm:vit_small_patch32_224', 'timm:resnet18', RESNET])
def test_anchors_and_regions_have_the_strides_of_the_maps(network, tmp_path):
    cfg = recipe(tmp_path, 'coco_folder', network)
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        maps = model.extract_feat(torch.empty(1, 3, 896, 896))
    strides = [896 / x.shape[3] for x in maps]
    assert [stride for stride, _ in model.rpn_head.prior_generator.strides] == strides
    extractors = model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor
    assert all(extractor.featmap_strides == strides[:4] for extractor in extractors)


@pytest.mark.parametrize('setting, strides', [
    ('rpn_head.anchor_generator.strides', [8, 16, 32, 64, 128]),
    ('roi_head.bbox_roi_extractor.featmap_strides', [4, 8, 16, 64]),
    ('roi_head.mask_roi_extractor.featmap_strides', [3.5, 7, 14, 28])])
def test_other_strides_than_those_of_the_maps_are_refused_before_the_training(setting, strides, tmp_path):
    cfg = recipe(tmp_path, 'coco_folder', TINY, light=True)
    cfg.merge_from_dict({f'model.{setting}': strides})
    with raises(UsageError, setting):
        rehearse(cfg)


@pytest.mark.parametrize('size', [64, 800])
def test_maps_of_padded_images_have_their_strides(size, tmp_path):
    """timm's networks of patch 14 pad images to multiples of 14."""
    cfg = recipe(tmp_path, 'coco_folder', 'timm:vit_small_patch14_dinov2', light=True, size=size)
    rehearse(cfg)
    cfg.model.rpn_head.anchor_generator.strides = [4, 8, 16, 32, 64]
    with raises(UsageError, 'rpn_head.anchor_generator.strides'):
        rehearse(cfg)
