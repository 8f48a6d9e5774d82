"""Networks are drawn as they were trained."""
from importlib import import_module

import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import MODELS

from mmvit.configs.backbone import setting_of
from mmvit.drawing.drawn_networks import drawn_network, normalize
from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.source import open_weights
from mmvit_backbones.zoo.variants import find_variant


@pytest.mark.parametrize('preprocessor, is_rgb', [
    (dict(type='mmpretrain.ClsDataPreprocessor', to_rgb=True), True),
    (dict(type='mmpretrain.ClsDataPreprocessor'), False),
    (dict(type='mmdet.DetDataPreprocessor', bgr_to_rgb=True), True),
    (dict(type='mmseg.SegDataPreProcessor', bgr_to_rgb=True), True)])
@pytest.mark.parametrize('statistics', [dict(mean=[10., 20., 30.], std=[2., 3., 4.]), {}])
def test_images_are_normalized_as_by_the_model(preprocessor, is_rgb, statistics):
    import_module(f'{preprocessor["type"].split(".")[0]}.models')
    preprocessor |= statistics
    pixels = torch.randint(256, (3, 8, 8), dtype=torch.uint8)
    expected = MODELS.build(preprocessor)(dict(inputs=[pixels.flip(0)], data_samples=None), False)['inputs']  # BGR
    cfg = Config(dict(model=dict(backbone=dict(type='ReSwin'), data_preprocessor=preprocessor)))
    torch.testing.assert_close(normalize(pixels, setting_of(cfg)[1]), torch.as_tensor(expected[0])[None].float())


def test_a_run_is_drawn_as_it_was_trained(tmp_path):
    """With its arguments and its normalization; weights by name have that of their library."""
    pixels = torch.full((3, 1, 1), 255.)
    timm = setting(find_variant('swin_vsa_tiny'), weights=open_weights('timm://vit_small_patch16_224')).images
    torch.testing.assert_close(normalize(pixels, timm), torch.ones(1, 3, 1, 1))
    cfg = Config.fromfile(ROOT / 'tests/running/tiny_classifier.py')
    cfg.data_preprocessor.update(mean=[255.] * 3)
    cfg.model.backbone = dict(type='ViTAEv2VSA', arch='small', window_padding='center')
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'a.pth'))
    torch.save(dict(state_dict=get_model('vitaev2_vsa_small', 'backbone').state_dict()), tmp_path / 'a.pth')
    backbone, images, _ = drawn_network('vitaev2_vsa_small', str(tmp_path / 'a.pth'), False)
    assert backbone.window_padding == 'center' and not normalize(pixels, images).any()
    with raises(UsageError, 'swin_vsa_small', 'ViTAEv2VSA small'):
        drawn_network('swin_vsa_small', str(tmp_path), False)
