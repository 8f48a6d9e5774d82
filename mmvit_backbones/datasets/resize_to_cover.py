"""Resizes images so that they cover a size."""
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeToCover:
    """Resizes images of classifiers to the smallest size of their aspect ratio that covers ``scale``.

    A center crop of nearly this size then has most of the image, also if neither is square.

    Args:
        scale (tuple[int, int]): Width and height, in pixels.
        **options: Further arguments of mmpretrain's ``ResizeEdge``.
    """

    def __init__(self, scale: tuple[int, int], **options) -> None:
        self.scale = width, height = scale
        self.by_width, self.by_height = (
            TRANSFORMS.build(dict(type='mmpretrain.ResizeEdge', scale=side, edge=edge, **options))
            for side, edge in ((width, 'width'), (height, 'height')))

    def __call__(self, results: dict) -> dict | None:
        height, width = results['img'].shape[:2]
        return (self.by_width if self.scale[0] * height >= self.scale[1] * width else self.by_height)(results)
