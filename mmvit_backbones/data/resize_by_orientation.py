"""Images of one size, or of two: one for landscape and one for portrait ones."""
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeByOrientation:
    """Resizes an image to ``scale``, and one that is taller than wide to ``scale`` turned.

    Args:
        scale (tuple[int, int]): Width and height, in pixels.
        keep_ratio (bool): Fit the image into ``scale`` instead of stretching it.
    """

    def __init__(self, scale: tuple[int, int], keep_ratio: bool = False) -> None:
        self.landscape, self.portrait = (
            TRANSFORMS.build(dict(type='Resize', scale=tuple(size), keep_ratio=keep_ratio))
            for size in (scale, scale[::-1]))

    def __call__(self, results: dict) -> dict | None:
        """Takes and gives what the framework's ``Resize`` does, masks and boxes included."""
        height, width = results['img'].shape[:2]
        return (self.portrait if height > width else self.landscape)(results)
