"""The OpenMMLab frameworks whose models and data sets configs may name."""
import io
from contextlib import redirect_stdout
from importlib import import_module

FRAMEWORKS = ('mmdet', 'mmseg', 'mmpretrain')


def import_quietly(framework: str) -> None:
    """Imports a framework's datasets and models without printing which optional dependencies are missing."""
    with redirect_stdout(io.StringIO()):
        import_module(f'{framework}.datasets')
        import_module(f'{framework}.models')
