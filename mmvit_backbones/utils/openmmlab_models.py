"""Reads data preprocessors of OpenMMLab."""
from torch import nn


def takes_rgb(preprocessor: nn.Module) -> bool:
    """Returns whether a data preprocessor converts the BGR images of pipelines to RGB."""
    # The option has a different name in each framework.
    return any(getattr(preprocessor, name, False) for name in ('to_rgb', 'channel_conversion', '_channel_conversion'))
