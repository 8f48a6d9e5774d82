"""Finds the network that a recipe or a comparison trains, and what a recipe must know about it."""
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.ops import plain_pytorch
from mmvit_backbones.utils.file_access import check_file
from mmvit_backbones.utils.initialization import loading_part
from mmvit_backbones.utils.openmmlab_models import type_name
from mmvit_backbones.zoo.checkpoints import AVERAGED, WEB
from mmvit_backbones.zoo.hubs import images_of, images_of_config
from mmvit_backbones.zoo.settings import Purpose, setting
from mmvit_backbones.zoo.source import Weights, open_weights
from mmvit_backbones.zoo.state_dicts import are_equal, find_prefixes, names_in, prefixes_in, strip_prefix, use_of_prefix
from mmvit_backbones.zoo.variants import IMAGENET_MEAN, IMAGENET_STD, VARIANTS, Normalization, Variant

from ..configs.backbone import setting_of
from ..configs.files import read_config
from ..frameworks.building import import_quietly
from ..naming import OTHERS, kind_of
from ..utils.distributed import warn
from ..utils.faults import named

RESNET50 = dict(type='mmdet.ResNet', depth=50, num_stages=4, out_indices=(0, 1, 2, 3), style='pytorch',
                norm_cfg=dict(type='BN', requires_grad=True),
                init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'))
IMAGENET = Normalization(IMAGENET_MEAN, IMAGENET_STD)
TIMM = OTHERS[1]
FREEZING = 'frozen_stages', 'stop_grad_conv1'  # arguments of the frameworks' backbones


@dataclass(frozen=True)
class Network:
    """A backbone for a recipe.

    Args:
        name (str): Name for files and messages.
        backbone (dict): Config of the backbone, with what loads its weights.
        weights (Weights | None): Those that it starts from; None for random ones.
        images (Normalization): How its images are normalized. Defaults to that of ImageNet.
        imports (tuple[str, ...]): Modules that register the backbone.
        image_size (tuple[int, int] | None): Height and width that images must have. Defaults to None: any.
        variant (Variant | None): The published network. Defaults to None: of another library, or from a config.
        built (dict): The backbone without weights and its arguments, by device; networks that follow share it.
    """

    name: str
    backbone: dict
    weights: Weights | None
    images: Normalization = IMAGENET
    imports: tuple[str, ...] = ('mmvit_backbones', )
    image_size: tuple[int, int] | None = None
    variant: Variant | None = None
    built: dict[str, tuple[dict, nn.Module]] = field(default_factory=dict, repr=False)

    def find_maps(self, side: int = 448) -> list[tuple[int, int]]:
        """Returns the channels and the stride of each map of square images, whose side strides up to 64 divide."""
        size = self.image_size or (side, side)

        def run(network: nn.Module) -> tuple[Tensor, ...]:
            network.eval()  # mmdet's backbones return nothing
            return network(torch.zeros(1, 3, *size))

        return [(x.shape[1], round(size[1] / x.shape[3])) for x in self.call_built(run)]

    def with_all_maps(self) -> 'Network':
        """Returns the network with the maps of its four stages, if it has stages and its config asks for one map.

        Raises:
            UsageError: If one map of stride 32 is all that it gives; from maps of plain networks, a pyramid is made.
        """
        try:
            given = self.find_maps()
        except UsageError:  # of a network for images of one size
            return self
        if len(given) > 1 or given[0][1] < 32:  # such as a plain network
            return self
        network = replace(self, backbone={**self.backbone, 'out_indices': (0, 1, 2, 3)})
        strides = set()
        with suppress(UsageError):
            strides = {stride for _, stride in network.find_maps()}
        if len(strides) == 4:
            return network
        if len(strides) != 1:  # that of a plain network
            raise UsageError(f'{self.name}: model.backbone gives one map of stride {given[0][1]}, got out_indices='
                             f'{self.backbone.get("out_indices")}; a detector or segmenter needs those of its stages')
        return self

    def make_pyramid(self, levels: int) -> tuple[list[int], list[float], dict | None]:
        """Returns the maps of a dense task: the network's, or for a plain one those of a simple feature pyramid.

        These are their channels before a neck like FPN, their strides after it, and a plain network's neck.

        Args:
            levels (int): Number of maps, or more; each that a neck adds has twice the stride of the one before it.
        """
        channels, strides = map(list, zip(*self.find_maps()))
        neck = None
        if len(set(strides)) == 1:  # a plain network
            neck = dict(type='SimpleFeaturePyramid', in_channels=channels[-1], num_outs=levels)
            channels = [256] * levels
            strides = [strides[-1] // factor if strides[-1] % factor == 0 else strides[-1] / factor
                       for factor in (4, 2, 1)]
        while len(strides) < levels:
            strides.append(2 * strides[-1])
        return channels, strides, neck

    def freeze(self, stages: int | Literal['all']) -> 'Network':
        """Returns the network with frozen stages.

        Args:
            stages (int | str): Number of stages, which are frozen together with the stem, or 'all'.

        Raises:
            UsageError: If the network has no ``frozen_stages``, less stages, or does not tell how many it has.
        """
        if not self.weights:
            raise UsageError(f'freeze (--freeze) needs weights, but {self.name} starts from random ones '
                             f'(--no-pretrained), got {stages}')
        number = stages
        if stages == 'all':
            number = self.call_built(lambda network: getattr(network, 'num_stages', None))
        network = replace(self, backbone={**self.backbone, 'frozen_stages': number})
        if stages == 'all' and (number is None or network.call_built(
                lambda built: any(parameter.requires_grad for parameter in built.parameters()))):
            raise UsageError(f'freeze (--freeze) must be the number of frozen stages for {self.name}, which does not '
                             'tell with how many all is frozen, got all')
        return network

    def thaw(self) -> 'Network':
        """Returns the network with nothing frozen by its config: random layers learn."""
        backbone = {key: value for key, value in self.backbone.items() if key not in FREEZING}
        if (backbone.get('norm_cfg') or {}).get('requires_grad') is False:
            backbone['norm_cfg'] = {**backbone['norm_cfg'], 'requires_grad': True}
        return replace(self, backbone=backbone)

    def call_built(self, function: Callable[[Any], Any]) -> Any:
        """Returns what a function returns for the backbone, without weights, on the meta device or else on the CPU."""
        own = {key: value for key, value in without_weights(self.backbone).items() if key != 'norm_eval'}

        def result(device: str) -> Any:
            with torch.device(device), torch.no_grad(), plain_pytorch():
                if device not in self.built or self.built[device][0] != own:
                    self.built[device] = own, MODELS.build(own)
                return function(self.built[device][1])

        with named(f'network {self.name}'):  # the arguments of a backbone can be wrong in any way
            try:
                return result('meta')
            except RuntimeError:  # such as mmdet's Swin, whose constructor reads values of tensors
                return result('cpu')


def without_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config of a backbone, or of a model without one, that loads nothing."""
    return {key: value for key, value in config.items()
            if key != 'pretrained' and not (key == 'init_cfg' and loading_part(value))}


def find_network(network: str | Mapping[str, Any], pretrained: bool | str = True, settings: Purpose = 'dense'
                 ) -> Network:
    """Returns a network by its name.

    Args:
        network (str | Mapping): A name from ``list_models()``, ``'resnet50'`` for mmdet's ResNet-50, ``'timm:NAME'``,
            a config whose ``model.backbone`` is meant, or the config of a backbone.
        pretrained (bool | str): True for the published weights, or those that a config names; a tag of other published
            weights, e.g. ``'22k'``; or a file, URL or name such as ``timm://NAME``. Defaults to True.
        settings (str): ``'dense'`` gives a published network the arguments of its detectors and segmenters, even with
            the weights of a classifier; ``'classification'``, those of its weights. Defaults to ``'dense'``.

    Raises:
        UsageError: If there is no such network, or it has no such weights.
    """
    if isinstance(network, str) and network in VARIANTS:
        found = find_published(VARIANTS[network], pretrained, settings)
    else:
        found = find_other(*read_network(network), pretrained, settings)
        found = found.with_all_maps() if settings == 'dense' else found
    found = found if found.weights else found.thaw()
    # The statistics of a few images are worse than those of the weights, which random ones lack; see docs/own_data.md.
    is_known = takes_norm_eval(found.backbone['type'])
    return replace(found, backbone={**found.backbone, 'norm_eval': bool(found.weights)}) if is_known else found


def find_published(variant: Variant, pretrained: bool | str, settings: Purpose) -> Network:
    """Returns a network of this package; see :func:`find_network`."""
    try:
        weights = open_weights(pretrained, variant)
    except CheckpointError as error:
        if isinstance(pretrained, str) and pretrained not in variant.weights:
            raise
        raise UsageError(f'{error}; use pretrained=False (--no-pretrained) to train from random weights') from error
    own, name = setting(variant, settings, weights), variant.family.backbone
    backbone = dict(own.backbone)
    if weights:
        backbone |= dict(drop_path_rate=0.1, init_cfg=dict(type='Pretrained', checkpoint=weights.source))
    if not any(name in registry.module_dict for registry in MODELS.children.values()):  # those of the frameworks
        backbone['type'] = name  # as in the published configs
    return Network(variant.name, backbone, weights, own.images, variant=variant)


def takes_norm_eval(name: str) -> bool:
    """Returns whether a registered backbone has an argument for batch norms in evaluation mode."""
    backbone = MODELS.get(name)
    return backbone is not None and (issubclass(backbone, Backbone) or 'norm_eval' in signature(backbone).parameters)


def read_network(network: str | Mapping[str, Any]) -> tuple[str, dict, Normalization | None, list[str]]:
    """Returns the name of a network of another library, its backbone, and a config's normalization and imports."""
    if isinstance(network, Mapping):
        backbone = dict(network)
        if isinstance(kind := backbone.get('type'), type):
            backbone['type'] = f'{kind.__module__}.{kind.__name__}'  # as MMEngine writes it
        return str(backbone.get('type')), backbone, None, []
    if kind_of(network) == 'network':
        name = network.removeprefix(TIMM)
        in_timm = dict(type='TimmBackbone', name=name, pretrained=True)
        return name, dict(RESNET50) if name == network else in_timm, None, []
    try:
        cfg = read_config(network, ('model', ))
    except UsageError as error:
        raise UsageError(f'network must be a name from mmvit models, resnet50, timm:NAME, or a config with a backbone: '
                         f'{error}') from error
    if not cfg.model.get('backbone'):
        raise UsageError(f'network must be a config with model.backbone, got {network}')
    backbone, images = setting_of(cfg)
    import_quietly(cfg.default_scope)
    if '.' not in backbone['type'] and MODELS.get(backbone['type']) is None:
        backbone['type'] = f'{cfg.default_scope}.{backbone["type"]}'  # other recipes may have another scope
    modules = (cfg.get('custom_imports') or {}).get('imports') or []
    return Path(network).stem, backbone, images, [modules] if isinstance(modules, str) else modules


def find_other(name: str, backbone: dict, images: Normalization | None, imports: list[str], pretrained: bool | str,
               settings: Purpose) -> Network:
    """Returns a network of another library; True keeps the weights and the images that its config names.

    For a network of timm, a file is one of timm or of the authors, which timm converts, or a checkpoint of a training.
    """
    own = next((each for each in VARIANTS.values() if each.family.backbone == type_name(backbone)), None)
    in_timm = type_name(backbone) == 'TimmBackbone'
    modules = ['mmvit_backbones', *imports]
    if in_timm:
        from mmvit_backbones.integrations import timm_backbone
        backbone, name = {**backbone, 'type': 'TimmBackbone'}, str(backbone.get('name'))
        if settings == 'classification':
            backbone['out_type'] = 'pre_logits'  # timm's own pooling
        modules = [timm_backbone.__name__, *imports]
        if isinstance(pretrained, str) and '://' in pretrained:
            raise UsageError(f'pretrained must be True, False or a file for timm:{name}, got {pretrained!r}; other '
                             'weights of timm have names of their own, timm:NAME.TAG')
    if not pretrained:
        backbone = without_weights(backbone)
    named = open_named(backbone, own) if pretrained is True else None
    found = Network(name, backbone, named, images or IMAGENET, tuple(dict.fromkeys(modules)))
    if isinstance(pretrained, str):
        found = start_from(found, pretrained, own)
    theirs = setting(own, 'dense', found.weights).images if own else found.weights and found.weights.images
    if in_timm:
        size, cfg = found.call_built(lambda network: (network.image_size, network.model.pretrained_cfg))
        found = replace(found, image_size=size)
        theirs = theirs or (images_of_config(cfg) if found.weights else None)
    return replace(found, images=theirs) if theirs and (images is None or isinstance(pretrained, str)) else found


def open_named(backbone: Mapping[str, Any], own: Variant | None) -> Weights | None:
    """Returns the weights that the config of a backbone names; those that timm loads, or of a URL, are not read."""
    if type_name(backbone) == 'TimmBackbone' and backbone.get('pretrained'):
        source, overlay = f'timm://{backbone.get("name")}', backbone.get('pretrained_cfg_overlay') or {}
        is_published = source.count(':') == 1 and not overlay
        return Weights(overlay.get('file', source), images=images_of(source) if is_published else None, is_unread=True)
    named = backbone.get('pretrained') or loading_part(backbone.get('init_cfg')).get('checkpoint')
    return Weights(named, is_unread=True) if named and named.startswith(WEB) else open_weights(named, own)


def start_from(network: Network, named: str, variant: Variant | None) -> Network:
    """Returns a network of another library that starts from weights that a person named.

    Raises:
        UsageError: If timm converts no file of JAX to the network, or there is no such file.
    """
    in_timm = type_name(network.backbone) == 'TimmBackbone'
    is_jax = in_timm and named.endswith('.npz')
    weights: Any = Weights(named, is_unread=True) if is_jax else open_weights(named, variant)
    own, names = network.call_built(lambda built: list(built.state_dict())), names_in(weights.checkpoint or {})
    loading: dict[str, Any] = dict(init_cfg=dict(type='Pretrained', checkpoint=weights.source))
    if in_timm and not any(f'{start}{name}' in names for start in ('.', '.backbone.') for name in own):
        overlay: dict[str, Any] = dict(file=weights.source)
        if is_jax:
            check_file(weights.source, 'checkpoint')
            if not network.call_built(lambda built: hasattr(built.model, 'load_pretrained')):
                raise UsageError(f'pretrained must be no file of JAX for timm:{network.name}, as timm converts none to '
                                 f'it, got {weights.source}')
            overlay['custom_load'] = True
        elif averaged := [key for key in AVERAGED if key in weights.checkpoint][:1]:
            warn(f'{weights.source}: of its weights, the averaged ones ({averaged[0]}) are taken, as timm does')
        weights, loading = replace(weights, is_unread=True), dict(pretrained=True, pretrained_cfg_overlay=overlay)
    elif in_timm:
        loading['pretrained'] = False
    elif not variant:  # networks of this package, and of timm, find themselves in a model's weights
        prefixes = find_prefixes(weights.state, own)
        first, *others = (strip_prefix(weights.state, prefix) for prefix in prefixes or [''])
        given = prefixes or prefixes_in(weights.checkpoint or {}, own)
        if given != prefixes or not all(are_equal(first, other) for other in others):
            raise CheckpointError(f'{weights.source} has weights of {network.name} with the prefixes '
                                  f'{", ".join(map(repr, given))}: choose one by {use_of_prefix(weights.source)}')
        if any(prefixes[:1]):
            loading['init_cfg']['prefix'] = prefixes[0]
    return replace(network, weights=weights, backbone=network.backbone | loading)
