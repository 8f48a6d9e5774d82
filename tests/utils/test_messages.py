"""Parts of error messages."""
from mmvit_backbones.utils.messages import near_names


def test_up_to_three_similar_names_are_listed():
    assert near_names('resnet', ['rest', 'resnet18', 'vit', 'resnet34', 'resnet50']).count(',') == 2
    assert near_names('resnet', ['resnet18', 'vit']) == '; similar names: resnet18'
    assert near_names('resnet', ['vit']) == ''
