"""Portrait images are resized with width and height swapped."""
import pytest
import torch
from mmengine.registry import TRANSFORMS, DefaultScope

import mmvit.folders  # noqa: F401  registers the transform


@pytest.mark.parametrize('height, width, expected', [(480, 640, (672, 1120)), (640, 480, (1120, 672)),
                                                     (500, 500, (672, 1120))])
def test_images_are_stretched_by_orientation(height, width, expected):
    import mmdet.datasets  # noqa: F401
    with DefaultScope.overwrite_default_scope('mmdet'):
        transform = TRANSFORMS.build(dict(type='ResizeByOrientation', scale=(1120, 672)))
        results = transform(dict(img=torch.zeros(height, width, 3).numpy()))
    assert results['img'].shape[:2] == results['img_shape'] == expected
    assert results['scale_factor'] == pytest.approx((expected[1] / width, expected[0] / height))
