"""The table of variants: all facts about the published classifiers.

A :class:`Family` holds what its networks share; a row of the table below is a :class:`Variant`. A new variant needs
one row, one ``arch`` of its backbone, configs and goldens. ``published.csv`` has the figures of other tasks and
sizes, ``weights.csv`` the addresses of checkpoints; ``tools/dev/make_metafiles.py`` writes the metafiles and the tables
of the documentation from the three.
"""
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ..errors import CheckpointError, UsageError
from .converters import refiner, regionvit, rest, revit, vitae
from .weights import WEIGHTS, Weights

IMAGENET_MEAN = [123.675, 116.28, 103.53]  # RGB
IMAGENET_STD = [58.395, 57.12, 57.375]


@dataclass(frozen=True)
class Family:
    """Properties shared by the networks of one paper and class."""
    name: str  # what tables and metafiles group by
    backbone: str  # registered name of the class
    title: str  # of the paper
    authors: str  # and where it appeared
    paper: str  # its address
    code: str  # the authors' repository, with the published figures and links to the checkpoints
    license: str  # of that repository
    docs: str  # page of the documentation
    architecture: tuple[str, ...]  # keywords for the metafiles
    convert: Callable  # from the authors' checkpoint to ours
    classifier: dict = field(default_factory=lambda: dict(out_indices=(3, )))  # further arguments of its backbone
    neck: dict | None = field(default_factory=lambda: dict(type='GlobalAveragePooling'))  # map -> vector
    head: dict = field(default_factory=lambda: dict(
        type='LinearClsHead', init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)))
    mean: list[float] = field(default_factory=lambda: IMAGENET_MEAN)
    std: list[float] = field(default_factory=lambda: IMAGENET_STD)
    remark: str = ''  # what is to be known of the published figures


@dataclass(frozen=True)
class Variant:
    """One published network."""
    name: str  # for get_model
    family: Family
    arch: str  # size, as its backbone calls it
    head_channels: int  # channels that the classifier's linear layer sees
    num_params: int  # of the classifier
    gmacs: float  # multiply-adds of the classifier at img_size, in 1e9, as tools/analysis/get_flops.py counts them
    published_gmacs: float | None  # as the authors state them, or as counted in their code
    top1: float | None  # published ImageNet-1k accuracy, in percent
    settings: dict = field(default_factory=dict)  # backbone arguments other than arch
    head: dict = field(default_factory=dict)  # further arguments of the classifier's head
    source: str | None = None  # of top1, if not in the authors' repository
    img_size: int = 224  # side of the images it was trained on, in pixels

    @property
    def backbone(self) -> dict:
        """Returns the config of the backbone, without drop path, which is a recipe's."""
        return dict(type=self.family.backbone, arch=self.arch, drop_path_rate=0., **self.settings)

    @property
    def short_name(self) -> str:
        """Returns the name used in configs: ``reswin_t`` for ``reswin_tiny``."""
        return '_'.join(SHORT_SIZES.get(word, word) for word in self.name.split('_'))

    @property
    def weights(self) -> dict[str, Weights]:
        """Returns the authors' checkpoints by tag: the image side, ``'22k'``, ``'mask_rcnn_3x'`` and so on."""
        return {weights.tag: weights for weights in WEIGHTS.values() if weights.variant == self.name}

    def config_name(self, tag: str) -> str:
        """Returns the name of the config for a tag."""
        task = next((task for task in ('mask_rcnn', 'retinanet', 'upernet') if tag.startswith(task)), 'imagenet')
        difference = '' if tag == str(self.img_size) else tag.removeprefix(task).removeprefix('_')
        return '_'.join(filter(None, [task, self.short_name, difference]))

    def has_weights(self, tag: str | bool) -> bool:
        """Returns whether an address for :meth:`find_weights` is known."""
        return (len(self.weights) == 1 or str(self.img_size) in self.weights) if tag is True else tag in self.weights

    def find_weights(self, tag: str | bool = True) -> Weights:
        """Returns the authors' checkpoint of a tag. True selects that of the paper's image size, or the only one.

        Raises:
            CheckpointError: If its address is unknown; the message lists the known tags.
        """
        weights, wanted = self.weights, str(self.img_size) if tag is True else tag
        if not self.has_weights(tag):
            known = f' with the tag {wanted!r}, but with {", ".join(map(repr, weights))}' if weights else ''
            raise CheckpointError(f'no address of published weights of {self.name} is known{known}; '
                                  f'see {self.family.code}')
        return weights.get(wanted) or next(iter(weights.values()))

    def model_config(self, task: str, num_classes: int = 1000, **backbone_overrides) -> dict:
        """Returns the config of the mmpretrain classifier, or of the bare backbone."""
        if task == 'backbone':
            return {**self.backbone, **backbone_overrides}
        family = self.family
        mean, std, to_rgb = family.mean, family.std, True
        if (channels := backbone_overrides.get('in_channels', 3)) != 3:  # of what they are is not known
            mean, std, to_rgb = [sum(mean) / 3] * channels, [sum(std) / 3] * channels, False
        return dict(
            _scope_='mmpretrain',  # whatever framework this process has used before
            type='ImageClassifier',
            data_preprocessor=dict(mean=mean, std=std, to_rgb=to_rgb, num_classes=num_classes),
            backbone={**self.backbone, **family.classifier, **backbone_overrides},
            neck=self.neck_config(self.head_channels),
            head={**family.head, **self.head, 'num_classes': num_classes, 'in_channels': self.head_channels})

    def neck_config(self, channels: int) -> dict | None:
        """Returns the config of the neck that pools the classifier's map, or None."""
        neck = dict(self.family.neck or {})
        if neck.get('type') == 'LayerNormPooling':
            neck['in_channels'] = channels
        return neck or None


CONFIG_TASKS = (
    'imagenet', 'mask_rcnn', 'cascade_mask_rcnn', 'retinanet', 'mask2former', 'dino', 'vitdet', 'upernet',
    'semantic_fpn', 'pose', 'cifar100', 'flowers102', 'pets', 'cars')
SHORT_SIZES = dict(tiny='t', small='s', medium='m', base='b', large='l', huge='h')

REVIT = Family(
    name='ReViT',
    backbone='ReViT',
    title='ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections',
    authors='Diko et al., Pattern Recognition 2024',
    paper='https://arxiv.org/abs/2402.11301',
    code='https://github.com/ADiko1997/ReViT',
    license='MIT; parts of it derive from Swin Transformer, MIT, and PySlowFast, Apache-2.0',
    docs='docs/revit.md',
    architecture=('Global attention', 'Attention residuals'),
    convert=revit.convert_revit,
    classifier=dict(out_indices=(0, )))
REMVITV2 = replace(
    REVIT, name='ReMViTv2', backbone='ReMViTv2', convert=revit.convert_remvitv2, classifier=dict(out_indices=(3, )),
    architecture=('Pooled attention', 'Decomposed relative positions', 'Attention residuals'))
RESWIN = replace(
    REVIT, name='ReSwin', backbone='ReSwin', convert=revit.convert_reswin, classifier=dict(out_indices=(3, )),
    architecture=('Window attention', 'Attention residuals'),
    head=dict(type='LinearClsHead', init_cfg=None))  # trained from PyTorch's initial values, as its linear layers
VITAE = Family(
    name='ViTAE',
    backbone='ViTAE',
    title='ViTAE: Vision Transformer Advanced by Exploring Intrinsic Inductive Bias',
    authors='Xu et al., NeurIPS 2021',
    paper='https://arxiv.org/abs/2106.03348',
    code='https://github.com/ViTAE-Transformer/ViTAE-Transformer',
    license='none ("research purpose only"); its dense prediction carries OpenMMLab\'s Apache-2.0',
    docs='docs/vitae.md',
    architecture=('Linear attention', 'Global attention', 'Convolution'),
    convert=vitae.convert_vitae,
    classifier=dict(out_indices=(2, )))
VITAEV2 = replace(
    VITAE, name='ViTAEv2', backbone='ViTAEv2', convert=vitae.convert_vitaev2, classifier=dict(out_indices=(3, )),
    title='ViTAEv2: Vision Transformer Advanced by Exploring Inductive Bias for Image Recognition and Beyond',
    authors='Zhang et al., IJCV 2023',
    paper='https://arxiv.org/abs/2202.10108',
    architecture=('Window attention', 'Global attention', 'Convolution'))
VITAE_PLAIN = replace(  # the large networks of the first kind are of the second paper
    VITAEV2, name='ViTAE-plain', backbone='ViTAE', convert=vitae.convert_vitae, classifier=dict(out_indices=(0, )),
    neck=dict(type='LayerNormPooling', order='pool_first'),
    architecture=('Global attention', 'Convolution'))
VITAEV2_VSA = Family(
    name='ViTAEv2-VSA',
    backbone='ViTAEv2VSA',
    title='VSA: Learning Varied-Size Window Attention in Vision Transformers',
    authors='Zhang et al., ECCV 2022',
    paper='https://arxiv.org/abs/2204.08446',
    code='https://github.com/ViTAE-Transformer/ViTAE-VSA',
    license='none ("research purpose only"); parts of it derive from MMDetection, Apache-2.0, and Swin, MIT',
    docs='docs/vsa.md',
    architecture=('Varied-size window attention', 'Convolution'),
    convert=vitae.convert_vitaev2_vsa)
SWIN_VSA = replace(
    VITAEV2_VSA, name='Swin-VSA', backbone='SwinVSA', convert=vitae.convert_swin_vsa,
    architecture=('Varied-size window attention', ),
    remark="scores without code or weights; the network is this package's own definition")
REGIONVIT = Family(  # its classifiers read the regional tokens
    name='RegionViT',
    backbone='RegionViT',
    title='RegionViT: Regional-to-Local Attention for Vision Transformers',
    authors='Chen, Panda and Fan, ICLR 2022',
    paper='https://arxiv.org/abs/2106.02689',
    code='https://github.com/IBM/RegionViT',
    license='Apache-2.0',
    docs='docs/regionvit.md',
    architecture=('Regional-to-local attention', 'Window attention'),
    convert=regionvit.convert,
    classifier=dict(out_indices=(3, ), out_tokens='regional'),
    neck=dict(type='LayerNormPooling', order='norm_first'))
REST = Family(
    name='ResT',
    backbone='ResT',
    title='ResT: An Efficient Transformer for Visual Recognition',
    authors='Zhang and Yang, NeurIPS 2021',
    paper='https://arxiv.org/abs/2105.13677',
    code='https://github.com/wofmanaf/ResT',
    license='Apache-2.0; the headers of its detection files say MIT',
    docs='docs/rest.md',
    architecture=('Efficient multi-head self-attention', 'Pixel attention'),
    convert=rest.convert)
RESTV2 = replace(
    REST, name='ResTv2', backbone='ResTv2', convert=rest.convert_v2,
    title='ResT V2: Simpler, Faster and Stronger',
    authors='Zhang and Yang, NeurIPS 2022',
    paper='https://arxiv.org/abs/2204.07366',
    architecture=('Efficient multi-head self-attention', 'Upsampled values', 'Pixel attention'))
REFINER_VIT = Family(
    name='Refiner-ViT',
    backbone='RefinerViT',
    title='Refiner: Refining Self-attention for Vision Transformers',
    authors='Zhou et al., 2021',
    paper='https://arxiv.org/abs/2106.03714',
    code='https://github.com/zhoudaquan/Refiner_ViT',
    license='none; its parts carry Apache-2.0 and Clear BSD headers',
    docs='docs/refiner.md',
    architecture=('Global attention', 'Refined attention maps', 'Shared attention maps'),
    convert=refiner.convert,
    classifier=dict(out_indices=3, out_type='tokens'),
    neck=None,
    head=dict(type='TokenLabelHead'),
    mean=[127.5] * 3,
    std=[127.5] * 3,
    remark='trained with token labels')

# The large windows are inferred: these alone fit the parameters and multiply-adds of the paper's table.
_PLUS = dict(settings=dict(window_size=(14, 14, 14, 7)), source="the paper's table")
_PLAIN = dict(head=dict(dense=False))

# Per row: name, family, arch, channels of the head; parameters, GMACs (ours, theirs), top-1; what else.
# ResTv1's authors state fewer multiply-adds than their code does (1.54, 2.11, 4.65, 8.39). Those of ViTAE, VSA and
# Refiner-ViT are not published and are counted in the authors' code, to which Refiner-ViT's dense head is added.
_VARIANTS = [
    Variant('revit_base', REVIT, 'base', 768, 86_566_121, 17.47, 17.5, 82.4),
    Variant('remvitv2_tiny', REMVITV2, 'tiny', 768, 24_173_321, 4.69, 4.7, 82.7),
    Variant('reswin_tiny', RESWIN, 'tiny', 768, 28_288_354, 4.49, 4.5, 81.5),
    Variant('vitae_tiny', VITAE, 'tiny', 256, 4_882_792, 1.76, 1.77, 75.3),
    Variant('vitae_6m', VITAE, '6m', 256, 6_610_024, 2.15, 2.17, 77.9),
    Variant('vitae_13m', VITAE, '13m', 320, 10_830_632, 3.04, 3.05, None),
    Variant('vitae_small', VITAE, 'small', 384, 24_009_096, 6.18, 6.21, 82.0),
    Variant('vitae_base', VITAE_PLAIN, 'base', 768, 89_341_672, 18.08, 18.12, 83.8),
    Variant('vitae_large', VITAE_PLAIN, 'large', 1024, 311_724_008, 62.94, 62.9, 86.0),
    Variant('vitae_huge', VITAE_PLAIN, 'huge', 1280, 644_528_360, 129.63, 129.6, 86.9),
    Variant('vitaev2_small', VITAEV2, 'small', 512, 19_355_688, 5.75, 5.78, 82.6),
    Variant('vitaev2_48m', VITAEV2, '48m', 768, 48_674_632, 13.34, 13.39, 83.8),
    Variant('vitaev2_base', VITAEV2, 'base', 1024, 89_693_352, 24.37, 24.44, 84.6),
    Variant('vitaev2_small_window', VITAEV2, 'small_window', 512, 19_357_992, 5.62, 5.65, 82.2),
    Variant('vitaev2_vsa_small', VITAEV2_VSA, 'small', 512, 19_773_300, 5.72, 5.76, 82.7),
    Variant('vitaev2_vsa_48m', VITAEV2_VSA, '48m', 768, 51_089_119, 15.02, 15.09, 83.9),
    Variant('vitaev2_vsa_base', VITAEV2_VSA, 'base', 1024, 93_711_532, 27.11, 27.21, None),
    Variant('vitaev2_vsa_small_wide', VITAEV2_VSA, 'small_wide', 512, 20_342_442, 6.28, 6.33, None),
    Variant('swin_vsa_tiny', SWIN_VSA, 'tiny', 768, 28_779_274, 4.56, None, 82.24),
    Variant('swin_vsa_small', SWIN_VSA, 'small', 768, 50_549_338, 8.86, None, 83.6),
    Variant('regionvit_tiny', REGIONVIT, 'tiny', 512, 13_842_676, 2.42, 2.4, 80.4),
    Variant('regionvit_small', REGIONVIT, 'small', 768, 30_586_618, 5.34, 5.3, 82.6),
    Variant('regionvit_medium', REGIONVIT, 'medium', 768, 41_215_906, 7.41, 7.4, 83.1),
    Variant('regionvit_base', REGIONVIT, 'base', 1024, 72_747_232, 13.05, 13.0, 83.2),
    Variant('regionvit_tiny_plus', REGIONVIT, 'tiny', 512, 14_336_820, 2.67, 2.7, 81.5, **_PLUS),
    Variant('regionvit_small_plus', REGIONVIT, 'small', 768, 31_327_834, 5.70, 5.7, 83.3, **_PLUS),
    Variant('regionvit_medium_plus', REGIONVIT, 'medium', 768, 41_997_442, 7.86, 7.9, 83.4, **_PLUS),
    Variant('regionvit_base_plus', REGIONVIT, 'base', 1024, 73_789_280, 13.59, 13.6, 83.8, **_PLUS),
    Variant('rest_lite', REST, 'lite', 512, 10_508_300, 1.53, 1.4, 77.2),
    Variant('rest_small', REST, 'small', 512, 13_679_708, 2.09, 1.9, 79.6),
    Variant('rest_base', REST, 'base', 768, 30_327_052, 4.63, 4.3, 81.6),
    Variant('rest_large', REST, 'large', 768, 51_676_156, 8.36, 7.9, 83.6),
    Variant('restv2_tiny', RESTV2, 'tiny', 768, 30_434_776, 4.08, 4.1, 82.3),
    Variant('restv2_small', RESTV2, 'small', 768, 41_205_976, 5.95, 6.0, 83.2),
    Variant('restv2_base', RESTV2, 'base', 768, 55_965_208, 7.86, 7.9, 83.7),
    Variant('restv2_large', RESTV2, 'large', 1024, 86_532_520, 13.80, 13.8, 84.2),
    Variant('refiner_vit_small', REFINER_VIT, 'small', 384, 25_408_656, 6.82, 6.90, 83.6),
    Variant('refiner_vit_medium', REFINER_VIT, 'medium', 420, 55_450_932, 13.50, 13.65, 84.6),
    Variant('refiner_vit_large', REFINER_VIT, 'large', 512, 81_150_192, 19.19, 19.38, 84.9),
    Variant('refiner_vit_small_plain', REFINER_VIT, 'small', 384, 25_023_656, 6.74, 6.82, None, **_PLAIN),
    Variant('refiner_vit_medium_plain', REFINER_VIT, 'medium', 420, 55_029_932, 13.42, 13.57, None, **_PLAIN),
    Variant('refiner_vit_large_plain', REFINER_VIT, 'large', 512, 80_637_192, 19.09, 19.28, None, **_PLAIN),
]
VARIANTS = {variant.name: variant for variant in _VARIANTS}


def find_variant(name: str) -> Variant:
    """Returns the variant of that name.

    Raises:
        ValueError: If there is none; the message lists the names, and the nearest.
    """
    if name not in VARIANTS:
        near = get_close_matches(name, VARIANTS)
        raise ValueError(f'name must be one of {list_models()}, got {name!r}' + (f', near {near[0]!r}' if near else ''))
    return VARIANTS[name]


def parse_config_name(name: str) -> tuple[str, Variant, list[str]]:
    """Splits ``TASK_VARIANT[_WHAT_DIFFERS]``, the name of a config without ``.py``.

    Raises:
        ValueError: If no task or no variant has that name.

    Example:
        >>> from mmvit_backbones.zoo import parse_config_name
        >>> task, variant, differences = parse_config_name('mask_rcnn_regionvit_s_plus_peg_3x')
        >>> task, variant.name, differences
        ('mask_rcnn', 'regionvit_small_plus', ['peg', '3x'])
    """
    for task in CONFIG_TASKS:
        for variant in sorted(VARIANTS.values(), key=lambda variant: -len(variant.short_name)):
            if f'{name}_'.startswith(f'{task}_{variant.short_name}_'):
                return task, variant, name.removeprefix(f'{task}_{variant.short_name}').split('_')[1:]
    raise ValueError(f'a config is called TASK_VARIANT[_WHAT_DIFFERS] with a task of {CONFIG_TASKS} and a variant like '
                     f'{VARIANTS["reswin_tiny"].short_name!r}, got {name!r}')


def list_models(pattern: str = '*') -> list[str]:
    """Returns the sorted names of the variants that match a shell pattern.

    Example:
        >>> import mmvit_backbones
        >>> mmvit_backbones.list_models('reswin*')
        ['reswin_tiny']
    """
    return sorted(name for name in VARIANTS if fnmatchcase(name, pattern))


def find_names(patterns: Sequence[str]) -> list[str]:
    """Returns the variants that match any of some names or shell patterns; UsageError is raised if none does."""
    names = [name for pattern in patterns for name in list_models(pattern)]
    if not names:
        raise UsageError(f'no network is called {" or ".join(patterns)}; there are: {", ".join(list_models())}')
    return names
