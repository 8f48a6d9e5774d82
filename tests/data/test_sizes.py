"""--size changes the sizes in all data steps of a config."""
import pytest
from helpers import ROOT, raises
from mmengine.config import Config

from mmvit_backbones.data.sizes import image_size, resize_data
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import dicts_in


def steps_of(cfg, split: str) -> dict[str, dict]:
    return {node['type']: node for node in dicts_in(cfg[f'{split}_dataloader'].dataset.pipeline) if 'type' in node}


def resized(name: str, *size: int) -> Config:
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    resize_data(cfg, size)
    return cfg


def test_crops_of_classifiers():
    old = Config.fromfile(ROOT / 'configs/imagenet_reswin_t.py')
    cfg = resized('imagenet_reswin_t', 112)
    assert steps_of(cfg, 'train')['RandomResizedCrop'].scale == steps_of(cfg, 'test')['CenterCrop'].crop_size == 112
    assert steps_of(cfg, 'test')['ResizeEdge'].scale == steps_of(old, 'test')['ResizeEdge'].scale / 2
    cfg = resized('imagenet_reswin_t', 112, 224)
    assert steps_of(cfg, 'train')['RandomResizedCrop'].scale == (112, 224)  # height first
    assert steps_of(cfg, 'test')['CenterCrop'].crop_size == (224, 112)  # width first
    assert steps_of(cfg, 'test')['ResizeEdge'].scale >= 224  # no side is shorter than the crop


@pytest.mark.parametrize('size, scale', [((400, ), (666, 400)), ((400, 500), (500, 400)), ((500, 400), (500, 400))])
def test_short_side_of_detectors(size, scale):
    cfg = resized('mask_rcnn_reswin_t', *size)
    for split in ('train', 'val', 'test'):
        assert steps_of(cfg, split)['Resize'].scale == scale


def test_augmentation_of_detectors_keeps_its_range():
    old = Config.fromfile(ROOT / 'configs/mask_rcnn_vitaev2_s.py')
    new = resized('mask_rcnn_vitaev2_s', 400)
    for before, after in zip(dicts_in(old.train_dataloader), dicts_in(new.train_dataloader)):
        for key in ('scales', 'crop_size'):
            for wide, narrow in zip(before.get(key, ()), after.get(key, ())):
                pairs = [(wide, narrow)] if isinstance(wide, int) else zip(wide, narrow)
                assert all(small == round(large / 2) for large, small in pairs)


def test_crops_and_windows_of_segmenters():
    cfg = resized('upernet_swin_vsa_t_cityscapes_769', 385)
    assert steps_of(cfg, 'train')['RandomCrop'].crop_size == cfg.model.data_preprocessor.size == (385, 385)
    assert cfg.model.test_cfg.crop_size == (385, 385) and cfg.model.test_cfg.stride == (257, 257)
    cfg = resized('upernet_reswin_t', 256, 384)
    assert steps_of(cfg, 'train')['RandomCrop'].crop_size == cfg.model.data_preprocessor.size == (256, 384)
    assert image_size(cfg) == (256, 384)


@pytest.mark.parametrize('name', [
    'imagenet_refiner_vit_l', 'imagenet_vitaev2_b_22k_pretrain', 'dino_reswin_t',
    'mask2former_reswin_t', 'mask2former_reswin_t_ade20k', 'mask_rcnn_restv2_t', 'retinanet_rest_s', 'vitdet_vitae_b',
    'semantic_fpn_regionvit_s_plus', 'upernet_vitae_t'])
def test_every_kind_of_recipe_has_a_size(name):
    """The second change finds the size that the first one set."""
    cfg = resized(name, 96)
    assert min(resize_data(cfg, (64, ))[0]) == 96


def test_wrong_sizes():
    cfg = Config.fromfile(ROOT / 'configs/imagenet_reswin_t.py')
    for size in ((), (0, ), (1, 2, 3), (1.5, )):
        with raises(UsageError, str(list(size))):
            resize_data(cfg, size)
