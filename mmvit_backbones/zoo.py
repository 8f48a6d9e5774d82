"""The table of variants: everything that is known of a published network stands here once.

A new variant is one entry here, one ``arch`` of its backbone, its configs and its goldens.
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from .checkpoints import refiner, regionvit, rest, reswin, revit, swin_vsa, vitae

IMAGENET_MEAN = [123.675, 116.28, 103.53]  # RGB
IMAGENET_STD = [58.395, 57.12, 57.375]
POOLING = dict(type='GlobalAveragePooling')
LINEAR_HEAD = dict(type='LinearClsHead')


@dataclass(frozen=True)
class Variant:
    """One published network.

    Args:
        name (str): Name for ``get_model``.
        family (str): What the tables group by.
        backbone (dict): Backbone config with ``type`` and ``arch``.
        classifier (dict): Backbone arguments for classification, in addition.
        neck (dict | None): What makes one vector of the classifier's map.
        head (dict): Type of the classifier's head and what it needs besides numbers of channels and classes.
        mean (list[float]), std (list[float]): Normalisation of the pictures, RGB.
        head_channels (int): Channels that the classifier's linear layer sees.
        convert (Callable): From the authors' checkpoint to ours.
        img_size (int): Side of the pictures it was trained on, in pixels.
        num_params (int): Learned parameters of the classifier.
        gmacs (float | None): Multiply-adds at ``img_size``, in 1e9, as published or counted from the authors' code.
        top1 (float | None): Published ImageNet-1k accuracy, in percent.
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
    gmacs: float | None
    top1: float | None
    paper: str
    code: str
    weights: str
    img_size: int = 224
    classifier: dict = field(default_factory=lambda: dict(out_indices=(3, )))
    neck: dict | None = field(default_factory=lambda: POOLING)
    head: dict = field(default_factory=lambda: LINEAR_HEAD)
    mean: list[float] = field(default_factory=lambda: IMAGENET_MEAN)
    std: list[float] = field(default_factory=lambda: IMAGENET_STD)

    def model_config(self, task: str, **backbone_overrides) -> dict:
        """Config of the mmpretrain classifier, or of the bare backbone."""
        if task == 'backbone':
            return {**self.backbone, **backbone_overrides}
        return dict(
            _scope_='mmpretrain',  # whatever host this process has used before
            type='ImageClassifier',
            data_preprocessor=dict(mean=self.mean, std=self.std, to_rgb=True, num_classes=1000),
            backbone={**self.backbone, **self.classifier, **backbone_overrides},
            neck=self.neck,
            head=dict(self.head, num_classes=1000, in_channels=self.head_channels))


def _residual(name: str, network: str, arch: str, convert: Callable, num_params: int, gmacs: float, top1: float,
              drive_id: str, **settings) -> Variant:
    """The networks with attention residuals."""
    return Variant(
        name=name, family=network, backbone=dict(type=network, arch=arch), head_channels=768, convert=convert,
        num_params=num_params, gmacs=gmacs, top1=top1, paper='https://arxiv.org/abs/2402.11301',
        code='https://github.com/ADiko1997/ReViT', weights=f'Google Drive, file id {drive_id}', **settings)


_VITAE_CODE = 'https://github.com/ViTAE-Transformer/ViTAE-Transformer'


def _vitaev2(name: str, arch: str, head_channels: int, num_params: int, gmacs: float, top1: float,
             share: str | None) -> Variant:
    return Variant(
        name=name, family='ViTAEv2', backbone=dict(type='ViTAEv2', arch=arch), head_channels=head_channels,
        convert=vitae.convert_vitaev2, num_params=num_params, gmacs=gmacs, top1=top1,
        paper='https://arxiv.org/abs/2202.10108', code=_VITAE_CODE,
        weights=f'OneDrive (1drv.ms), share id {share}' if share else 'not published')


def _vitaev2_vsa(name: str, arch: str, head_channels: int, num_params: int, gmacs: float, top1: float | None,
                 weights: str) -> Variant:
    return Variant(
        name=f'vitaev2_vsa_{name}', family='ViTAEv2-VSA', backbone=dict(type='ViTAEv2VSA', arch=arch),
        head_channels=head_channels, convert=vitae.convert_vitaev2_vsa, num_params=num_params, gmacs=gmacs, top1=top1,
        paper='https://arxiv.org/abs/2204.08446', code='https://github.com/ViTAE-Transformer/ViTAE-VSA',
        weights=weights)


def _swin_vsa(arch: str, num_params: int, top1: float) -> Variant:
    """The package's own definition: of the authors' networks, nothing but scores is published."""
    return Variant(
        name=f'swin_vsa_{arch}', family='Swin-VSA', backbone=dict(type='SwinVSA', arch=arch), head_channels=768,
        convert=swin_vsa.convert, num_params=num_params, gmacs=None, top1=top1,
        paper='https://arxiv.org/abs/2204.08446', code='https://github.com/ViTAE-Transformer/ViTAE-VSA',
        weights='not published')


def _vitae(name: str, arch: str, head_channels: int, num_params: int, gmacs: float, top1: float | None,
           is_plain: bool = False) -> Variant:
    return Variant(
        name=name, family='ViTAE', backbone=dict(type='ViTAE', arch=arch), head_channels=head_channels,
        convert=vitae.convert_vitae, num_params=num_params, gmacs=gmacs, top1=top1,
        paper='https://arxiv.org/abs/2202.10108' if is_plain else 'https://arxiv.org/abs/2106.03348', code=_VITAE_CODE,
        weights="Google Drive folders, linked from the authors' repository",
        classifier=dict(out_indices=(0 if is_plain else 2, )),
        neck=dict(type='PooledLayerNorm', in_channels=head_channels) if is_plain else POOLING)


def _regionvit(name: str, arch: str, window_size: int | tuple[int, ...], channels: int, num_params: int, gmacs: float,
               top1: float, weights: str) -> Variant:
    """RegionViT's classifiers read the regional tokens."""
    return Variant(
        name=f'regionvit_{name}',
        family='RegionViT',
        backbone=dict(type='RegionViT', arch=arch, window_size=window_size),
        classifier=dict(out_indices=(3, ), out_tokens='regional'),
        neck=dict(type='NormPooling', in_channels=channels),
        head_channels=channels,
        convert=regionvit.convert,
        num_params=num_params,
        gmacs=gmacs,
        top1=top1,
        paper='https://arxiv.org/abs/2106.02689',
        code='https://github.com/IBM/RegionViT',
        weights=weights)


def _refiner_vit(arch: str, channels: int, num_params: int, gmacs: float, top1: float | None, weights: str,
                 is_plain: bool = False) -> Variant:
    """Published accuracies are of networks trained with token labels."""
    return Variant(
        name=f'refiner_vit_{arch}_plain' if is_plain else f'refiner_vit_{arch}',
        family='Refiner-ViT',
        backbone=dict(type='RefinerViT', arch=arch),
        classifier=dict(out_indices=3, out_type='tokens'),
        neck=None,
        head=dict(type='TokenLabelHead', dense=not is_plain),
        head_channels=channels,
        mean=[127.5] * 3,
        std=[127.5] * 3,
        convert=refiner.convert,
        num_params=num_params,
        gmacs=gmacs,
        top1=top1,
        paper='https://arxiv.org/abs/2106.03714',
        code='https://github.com/zhoudaquan/Refiner_ViT',
        weights=weights)


_REGIONVIT_RELEASE = 'https://github.com/IBM/RegionViT/releases/tag/weights-v0.1'
_REGIONVIT_PLUS = (14, 14, 14, 7)  # inferred: these windows alone fit the parameters and MACs of the paper's table

_VARIANTS = [
    _residual('reswin_tiny', 'ReSwin', 'tiny', reswin.convert, 28_288_354, 4.5, 81.5,
              '14Wronoy-Bm-m9BJwHXgjDYJNTOouj_m5'),
    _residual('remvitv2_tiny', 'ReMViTv2', 'tiny', revit.convert_remvitv2, 24_173_321, 4.7, 82.7,
              '1cBUzW7wJ1GUpd1CEgL_cSGd26b4s7U4d'),
    _residual('revit_base', 'ReViT', 'base', revit.convert_revit, 86_566_121, 17.5, 82.4,
              '1U8-a3yw1HPcPscm6eTiROxyJJlwfzy6h', classifier=dict(out_indices=(0, ))),
    _vitaev2('vitaev2_small', 'small', 512, 19_355_688, 5.78, 82.6, share='AimBgYV7JjTlgRgpIv58qMLokxP6'),
    _vitaev2('vitaev2_48m', '48m', 768, 48_674_632, 13.39, 83.8, share='AimBgYV7JjTlgRnQjbNipq0_OLKM'),
    _vitaev2('vitaev2_base', 'base', 1024, 89_693_352, 24.44, 84.6,
             share='AimBgYV7JjTlgRo8kRsNmnYikXw4; pre-trained on 22K: AimBgYV7JjTlgRuwkrO4cjvD5ydH'),
    _vitaev2('vitaev2_small_window', 'small_window', 512, 19_357_992, 5.65, 82.2, share=None),
    _vitaev2_vsa('small', 'small', 512, 19_773_300, 5.76, 82.7, 'OneDrive, share s!AimBgYV7JjTlgcgB0Xlyc3U4WO11AQ'),
    _vitaev2_vsa('48m', '48m', 768, 51_089_119, 15.09, 83.9, 'OneDrive, share s!AimBgYV7JjTlgcgCOt1UwhNQRfO0bw'),
    # Published is the accuracy after pre-training on ImageNet-22K alone.
    _vitaev2_vsa('base', 'base', 1024, 93_711_532, 27.21, 86.2, 'not published'),
    _vitaev2_vsa('small_wide', 'small_wide', 512, 20_342_442, 6.33, None, 'not published'),
    _swin_vsa('tiny', 28_779_274, 82.24),
    _swin_vsa('small', 50_549_338, 83.6),
    _vitae('vitae_tiny', 'tiny', 256, 4_882_792, 1.77, 75.3),
    _vitae('vitae_6m', '6m', 256, 6_610_024, 2.17, 77.9),
    _vitae('vitae_13m', '13m', 320, 10_830_632, 3.05, None),
    _vitae('vitae_small', 'small', 384, 24_009_096, 6.21, 82.0),
    _vitae('vitae_base', 'base', 768, 89_341_672, 18.12, 83.8, is_plain=True),
    _vitae('vitae_large', 'large', 1024, 311_724_008, 62.9, 86.0, is_plain=True),
    _vitae('vitae_huge', 'huge', 1280, 644_528_360, 129.6, 86.9, is_plain=True),
    _regionvit('tiny', 'tiny', 7, 512, 13_842_676, 2.4, 80.4, f'{_REGIONVIT_RELEASE}, RegionViT-Ti.pth'),
    _regionvit('small', 'small', 7, 768, 30_586_618, 5.3, 82.6, f'{_REGIONVIT_RELEASE}, RegionViT-S.pth'),
    _regionvit('medium', 'medium', 7, 768, 41_215_906, 7.4, 83.1, f'{_REGIONVIT_RELEASE}, RegionViT-M.pth'),
    _regionvit('base', 'base', 7, 1024, 72_747_232, 13.0, 83.2, f'{_REGIONVIT_RELEASE}, RegionViT-B.pth'),
    # The classifiers with large windows are in the paper only: figures from its table, no weights.
    _regionvit('tiny_plus', 'tiny', _REGIONVIT_PLUS, 512, 14_336_820, 2.7, 81.5, 'not published'),
    _regionvit('small_plus', 'small', _REGIONVIT_PLUS, 768, 31_327_834, 5.7, 83.3, 'not published'),
    _regionvit('medium_plus', 'medium', _REGIONVIT_PLUS, 768, 41_997_442, 7.9, 83.4, 'not published'),
    _regionvit('base_plus', 'base', _REGIONVIT_PLUS, 1024, 73_789_280, 13.6, 83.8, 'not published'),
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
    # Multiply-adds: counted from the authors' code, which with the dense head does 0.075, 0.082 and 0.1 more.
    _refiner_vit('small', 384, 25_408_656, 6.90, 83.6, 'not published'),
    _refiner_vit('medium', 420, 55_450_932, 13.65, 84.6, 'not published'),
    _refiner_vit('large', 512, 81_150_192, 19.38, 84.9,
                 'Google Drive, file id 12v1WbxG6_mZQ0FYnXIhKiqbtg5bI4pGL: fine-tuned at 448'),
    _refiner_vit('small', 384, 25_023_656, 6.82, None, 'not published', is_plain=True),
    _refiner_vit('medium', 420, 55_029_932, 13.57, None, 'not published', is_plain=True),
    _refiner_vit('large', 512, 80_637_192, 19.28, None, 'not published', is_plain=True),
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
