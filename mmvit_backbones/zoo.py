"""The table of variants: everything that is known of a published network stands here once.

A new variant is one entry here, one ``arch`` of its backbone, its configs and its goldens.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .checkpoints import rest, reswin

IMAGENET_MEAN = [123.675, 116.28, 103.53]  # RGB
IMAGENET_STD = [58.395, 57.12, 57.375]


@dataclass(frozen=True)
class Variant:
    """One published network.

    Args:
        name (str): Name for ``get_model``.
        family (str): What the tables group by.
        backbone (dict): Backbone config with ``type`` and ``arch``.
        classifier (dict): Backbone arguments for classification, in addition.
        head_channels (int): Channels that the classifier's linear layer sees.
        convert (Callable): From the authors' checkpoint to ours.
        img_size (int): Side of the pictures it was trained on, in pixels.
        num_params (int): Learned parameters of the classifier.
        gmacs (float): Multiply-adds at ``img_size``, in 1e9, as published.
        top1 (float): Published ImageNet-1k accuracy, in percent.
        paper (str): Address of the paper.
        code (str): The authors' repository, whence the published figures.
        weights (str): Where the authors' checkpoint lives.
    """
    name: str
    family: str
    backbone: dict
    head_channels: int
    convert: Callable
    num_params: int
    gmacs: float
    top1: float
    paper: str
    code: str
    weights: str
    img_size: int = 224
    classifier: dict = field(default_factory=lambda: dict(out_indices=(3, )))

    def model_config(self, task: str, **backbone_overrides) -> dict:
        """Config of the mmpretrain classifier, or of the bare backbone."""
        if task == 'backbone':
            return {**self.backbone, **backbone_overrides}
        return dict(
            _scope_='mmpretrain',  # whatever host this process has used before
            type='ImageClassifier',
            data_preprocessor=dict(mean=IMAGENET_MEAN, std=IMAGENET_STD, to_rgb=True, num_classes=1000),
            backbone={**self.backbone, **self.classifier, **backbone_overrides},
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=1000, in_channels=self.head_channels))


_VARIANTS = [
    Variant(
        name='reswin_tiny',
        family='ReSwin',
        backbone=dict(type='ReSwin', arch='tiny'),
        head_channels=768,
        convert=reswin.convert,
        num_params=28_288_354,
        gmacs=4.5,
        top1=81.5,
        paper='https://arxiv.org/abs/2402.11301',
        code='https://github.com/ADiko1997/ReViT',
        weights='Google Drive, file id 14Wronoy-Bm-m9BJwHXgjDYJNTOouj_m5'),
    *(Variant(
        name=f'rest_{arch}',
        family='ResT',
        backbone=dict(type='ResT', arch=arch),
        head_channels=head_channels,
        convert=rest.convert,
        num_params=num_params,
        gmacs=gmacs,
        top1=top1,
        paper='https://arxiv.org/abs/2105.13677',
        code='https://github.com/wofmanaf/ResT',
        weights='Google Drive, folder 1H6QUZsKYbU6LECtxzGHKqEeGbx1E8uQ9')
      for arch, head_channels, num_params, gmacs, top1 in [
          ('lite', 512, 10_508_300, 1.4, 77.2),
          ('small', 512, 13_679_708, 1.9, 79.6),
          ('base', 768, 30_327_052, 4.3, 81.6),
          ('large', 768, 51_676_156, 7.9, 83.6),
      ]),
    *(Variant(
        name=f'restv2_{arch}',
        family='ResTv2',
        backbone=dict(type='ResTv2', arch=arch),
        head_channels=head_channels,
        convert=rest.convert_v2,
        num_params=num_params,
        gmacs=gmacs,
        top1=top1,
        paper='https://arxiv.org/abs/2204.07366',
        code='https://github.com/wofmanaf/ResT',
        weights="pan.baidu.com, code rest; addresses in the authors' README")
      for arch, head_channels, num_params, gmacs, top1 in [
          ('tiny', 768, 30_434_776, 4.1, 82.3),
          ('small', 768, 41_205_976, 6.0, 83.2),
          ('base', 768, 55_965_208, 7.9, 83.7),
          ('large', 1024, 86_532_520, 13.8, 84.2),
      ]),
]
VARIANTS = {variant.name: variant for variant in _VARIANTS}


def find_variant(name: str) -> Variant:
    """The variant of that name.

    Raises:
        ValueError: If there is none; the message lists all.
    """
    if name not in VARIANTS:
        raise ValueError(f'name must be one of {list_models()}, got {name!r}')
    return VARIANTS[name]


def list_models(pattern: str = '*') -> list[str]:
    """Names of the variants that match a shell pattern, sorted.

    Example:
        >>> import mmvit_backbones
        >>> mmvit_backbones.list_models('reswin*')
        ['reswin_tiny']
    """
    return sorted(name for name in VARIANTS if fnmatchcase(name, pattern))
