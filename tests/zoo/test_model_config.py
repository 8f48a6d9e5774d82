"""Variants have the right normalization of images, and find the authors' weights by tag."""
import pytest
from helpers import raises

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo.building import model_config
from mmvit_backbones.zoo.variants import IMAGENET_MEAN, IMAGENET_STD, VARIANTS


def test_images_are_normalized_as_rgb():
    config = model_config(VARIANTS['reswin_tiny'], 'classification')
    preprocessor = config['data_preprocessor']
    assert config['head']['num_classes'] == preprocessor['num_classes'] == 1000
    assert (preprocessor['mean'], preprocessor['std']) == (IMAGENET_MEAN, IMAGENET_STD) and preprocessor['to_rgb']
    assert [mean / 255 for mean in IMAGENET_MEAN] == pytest.approx([0.485, 0.456, 0.406])  # as in torchvision
    assert [std / 255 for std in IMAGENET_STD] == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize('channels', [1, 2, 4])
def test_other_channels_are_normalized_alike_and_keep_their_order(channels):
    preprocessor = model_config(VARIANTS['reswin_tiny'], 'classification', in_channels=channels)['data_preprocessor']
    assert preprocessor['mean'] == pytest.approx([sum(IMAGENET_MEAN) / 3] * channels)
    assert preprocessor['std'] == pytest.approx([sum(IMAGENET_STD) / 3] * channels)
    assert not preprocessor['to_rgb']


def test_weights_are_found_by_tag():
    """Without a tag, the weights are for the paper's image size, or the variant's only weights."""
    base = VARIANTS['vitae_base']
    assert base.published_weights() is base.published_weights('224') is base.weights['224']
    assert base.published_weights('22k') is base.weights['22k']
    with raises(CheckpointError, 'vitae_base', "'384'", "'224'", "'22k'"):
        base.published_weights('384')
    with raises(CheckpointError, 'regionvit_small_plus', "'224'", "'mask_rcnn_3x'", "'retinanet'"):
        VARIANTS['regionvit_small_plus'].published_weights()
    only = [variant for variant in VARIANTS.values() if len(variant.weights) == 1]
    assert all(variant.published_weights() in variant.weights.values() for variant in only)
    none = next(variant for variant in VARIANTS.values() if not variant.weights)
    with raises(CheckpointError, none.name, none.family.code):
        none.published_weights()
