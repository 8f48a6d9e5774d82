"""Resizes landscape and portrait images to different sizes."""
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeByOrientation:
    """Resizes images to ``scale``, with width and height swapped for portrait images.

    Args:
        scale (tuple[int, int]): Width and height, in pixels.
        keep_ratio (bool): Whether to keep the aspect ratio and fit the image into ``scale``. Defaults to False.
    """

    def __init__(self, scale: tuple[int, int], keep_ratio: bool = False) -> None:
        self.landscape, self.portrait = (
            TRANSFORMS.build(dict(type='Resize', scale=tuple(size), keep_ratio=keep_ratio))
            for size in (scale, scale[::-1]))

    def __call__(self, results: dict) -> dict | None:
        """Applies the framework's ``Resize``, which also resizes masks and boxes."""
        height, width = results['img'].shape[:2]
        return (self.portrait if height > width else self.landscape)(results)
