"""The published classifiers, read from ``variants.yml``.

Each entry of the file is a :class:`Family` with one row per :class:`Variant`. A new variant needs a row, an ``arch`` in
its backbone, configs and golden files. ``published.csv`` has the published results, and ``weights.csv`` has the URLs of
the checkpoints. ``tools/dev/make_metafiles.py`` generates metafiles and tables of the documentation from these files.
"""
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Literal

import yaml

from ..errors import CheckpointError, CheckpointNotFoundError, UsageError
from ..utils.messages import near_names
from .converters.layout import Layout
from .published import RESULTS
from .weights import WEIGHTS, PublishedFile

OFFICIAL = 'official://'
IMAGENET_MEAN = [123.675, 116.28, 103.53]  # RGB
IMAGENET_STD = [58.395, 57.12, 57.375]


@dataclass(frozen=True)
class Normalization:
    """How images are normalized: mean and standard deviation of the channels, after the change from BGR to RGB."""

    mean: list[float]
    std: list[float]
    to_rgb: bool = True


@dataclass(frozen=True)
class Family:
    """Properties shared by the networks with the same paper and backbone class."""
    name: str  # heading in tables and metafiles
    backbone: str  # registered name of the class
    title: str
    authors: str  # with the venue of the paper
    paper: str  # URL
    code: str  # the authors' repository, with the published results and links to the checkpoints
    license: str  # of the authors' repository
    docs: str  # page of the documentation
    architecture: list[str]  # keywords for the metafiles
    layout: Layout  # in zoo/converters, of the authors' checkpoints
    classifier: dict = field(default_factory=lambda: dict(out_indices=[3]))  # backbone arguments in classifiers
    neck: dict | None = field(default_factory=lambda: dict(type='GlobalAveragePooling'))  # pools a map to a vector
    head: dict = field(default_factory=lambda: dict(
        type='LinearClsHead', init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02)))
    mean: list[float] = field(default_factory=lambda: IMAGENET_MEAN)
    std: list[float] = field(default_factory=lambda: IMAGENET_STD)
    settings: dict = field(default_factory=dict)  # backbone arguments other than arch
    dense: dict = field(default_factory=dict)  # additional ones of detectors and segmenters
    options: dict[str, dict] = field(default_factory=dict)  # word in a tag -> further arguments of these
    detector_images: dict | None = None  # Normalization of the published detectors, if not that of the classifiers
    test: dict = field(default_factory=dict)  # Resize of the published tests, without the side
    tests: dict[str, dict] = field(default_factory=dict)  # tag -> what its test has in place of it
    remark: str = ''  # about the published results


@dataclass(frozen=True)
class Variant:
    """One published network."""
    name: str  # argument of get_model
    family: Family
    arch: str  # name of the architecture in the backbone's arch_zoo
    head_channels: int  # input channels of the classifier's linear layer
    num_params: int  # includes the classifier's head
    gmacs: float  # billions of multiply-adds of the classifier at img_size, counted by this package
    published_gmacs: float | None = None  # stated by the authors, or counted in their code
    counted_gmacs: float | None = None  # counted in the authors' code where they state others, or a sum
    settings: dict = field(default_factory=dict)  # backbone arguments other than arch
    dense: dict = field(default_factory=dict)  # additional backbone arguments of detectors and segmenters
    test: dict = field(default_factory=dict)  # what the published test has in place of the family's
    head: dict = field(default_factory=dict)  # additional arguments of the classifier's head
    img_size: int = 224  # side of the training images, in pixels
    related_weights: str = ''  # pretrained weights of a related network, from which a training can start; see hubs.py

    @property
    def short_name(self) -> str:
        """Returns the name used in configs: ``reswin_t`` for ``reswin_tiny``."""
        return '_'.join(SHORT_SIZES.get(word, word) for word in self.name.split('_'))

    @property
    def top1(self) -> float | None:
        """Returns the published ImageNet-1k accuracy in percent, or None."""
        return RESULTS.get(f'imagenet_{self.short_name}', {}).get('top1')

    @property
    def weights(self) -> dict[str, PublishedFile]:
        """Returns the authors' checkpoints by tag, such as ``'224'``, ``'22k'`` or ``'mask_rcnn_3x'``."""
        return {weights.tag: weights for weights in WEIGHTS.values() if weights.variant == self.name}

    def config_name(self, tag: str) -> str:
        """Returns the name of the config for the checkpoint with this tag."""
        task = task_of(tag)
        difference = '' if tag == str(self.img_size) else tag.removeprefix(task).removeprefix('_')
        return '_'.join(filter(None, [task, self.short_name, difference]))

    def has_weights(self, tag: str | Literal[True]) -> bool:
        """Returns whether the authors published a checkpoint with a tag."""
        return (len(self.weights) == 1 or str(self.img_size) in self.weights) if tag is True else tag in self.weights

    def published_weights(self, tag: str | Literal[True] = True) -> PublishedFile:
        """Returns the authors' checkpoint with a tag; True selects the paper's image size, or the only checkpoint.

        Raises:
            CheckpointError: If there is no such checkpoint; the message lists the known tags.
        """
        weights, wanted = self.weights, str(self.img_size) if tag is True else tag
        if not self.has_weights(tag):
            known = f' with the tag {wanted!r} (known tags: {", ".join(map(repr, weights))})' if weights else ''
            related = self.related_weights
            hint = f'; start from pretrained weights of a related network: {related}' if related else ''
            raise CheckpointError(f'no download URL is known for weights of {self.name}{known}; '
                                  f'see {self.family.code}{hint}')
        return weights.get(wanted) or next(iter(weights.values()))

    def neck_config(self, channels: int) -> dict | None:
        """Returns the config of the classifier's pooling neck, or None."""
        neck = dict(self.family.neck or {})
        if neck.get('type') == 'LayerNormPooling':
            neck['in_channels'] = channels
        return neck or None


def task_of(tag: str) -> str:
    """Returns the task of the weights with a tag, as the names of configs begin."""
    return next((task for task in ('mask_rcnn', 'retinanet', 'upernet') if tag.startswith(task)), 'imagenet')


SHORT_SIZES = dict(tiny='t', small='s', medium='m', base='b', large='l', huge='h')


def _read_table() -> Iterator[Variant]:
    loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # some builds of PyYAML lack the faster loader
    families = yaml.load(Path(__file__).with_suffix('.yml').read_text(encoding='utf-8'), loader)
    for name, facts in families.items():
        rows = facts.pop('variants', {})
        module, _, layout = facts.pop('layout').partition('.')
        family = Family(name, layout=getattr(import_module(f'{__package__}.converters.{module}'), layout), **facts)
        yield from (Variant(row, family, **values) for row, values in rows.items())


VARIANTS = {variant.name: variant for variant in _read_table()}


def find_variant(name: str) -> Variant:
    """Returns the variant with the given name.

    Raises:
        UsageError: If the name is unknown; the message lists all names, and similar ones.
    """
    if name not in VARIANTS:
        raise UsageError(f'name must be one of {list_models()}, got {name!r}{near_names(str(name), VARIANTS)}')
    return VARIANTS[name]


def published_by(name: str) -> tuple[Variant, str | Literal[True]] | None:
    """Returns the network and the tag of ``official://NETWORK[/TAG]``, or None for another name.

    Raises:
        CheckpointNotFoundError: If the network is unknown.
    """
    network, _, tag = name.removeprefix(OFFICIAL).partition('/')
    if not name.startswith(OFFICIAL):
        return None
    if network not in VARIANTS:
        hint = near_names(network, VARIANTS) or '; see mmvit_backbones.list_models()'
        raise CheckpointNotFoundError(f'{name}: unknown network {network!r}{hint}; omit {OFFICIAL} to load a file')
    return VARIANTS[network], tag or True


def official_name(variant: Variant, tag: str | Literal[True]) -> str:
    """Returns the ``official://`` name of a network's weights; raises CheckpointError for unknown weights."""
    variant.published_weights(tag)
    return f'{OFFICIAL}{variant.name}' + ('' if tag is True else f'/{tag}')


def list_models(pattern: str = '*') -> list[str]:
    """Returns the sorted names of the variants that match a shell pattern.

    Example:
        >>> import mmvit_backbones
        >>> mmvit_backbones.list_models('reswin*')
        ['reswin_tiny']
    """
    return sorted(name for name in VARIANTS if fnmatchcase(name, pattern))


def find_names(patterns: Sequence[str]) -> list[str]:
    """Returns the names of the variants that match names or shell patterns, each once and in the order of the patterns.

    Raises:
        UsageError: If no variant matches.
    """
    names = list(dict.fromkeys(name for pattern in patterns for name in list_models(pattern)))
    if not names:
        raise UsageError(f'no network matches {" or ".join(patterns)}; available networks: {", ".join(list_models())}')
    return names
