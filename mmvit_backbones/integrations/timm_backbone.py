"""Networks of timm as backbones in configs of mmdet, mmseg and mmpretrain.

https://huggingface.co/docs/timm
"""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any, Literal

import torch.nn.functional as F
from mmengine.model import BaseModule, initialize
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_module_registration_hook

from ..backbones.base import is_integer
from ..errors import CheckpointError, UsageError, first_line
from ..ops.sizes import ceil_div
from ..ops.window import crop, pad_images
from ..utils.image_sizes import height_and_width
from ..utils.initialization import with_own_pretrained
from ..utils.installation import install_command
from ..utils.messages import near_names
from ..utils.openmmlab_models import on_meta
from ..zoo.checkpoints import read_checkpoint
from ..zoo.fitting import check_finite
from ..zoo.foreign_names import describe_names
from ..zoo.hubs import brief_warnings, timm_network
from ..zoo.state_dicts import WHOLE, names_in, prefixes_in, use_of_prefix
from .timm_maps import Maps, ask_maps, by

try:
    import timm
    from timm.models import group_parameters
except ImportError as error:
    raise UsageError(f'TimmBackbone needs timm: {install_command("timm")}; {error}') from error
if not hasattr(timm.models.VisionTransformer, 'forward_intermediates'):
    raise UsageError(f'TimmBackbone needs timm 1.0.3 or newer, got {timm.__version__}: {install_command("timm")}')

__all__ = ['TimmBackbone']

# Arguments with which some networks take images of any size.
ANY_SIZE: tuple[dict[str, Any], ...] = dict(strict_img_size=False), dict(dynamic_img_size=True), {}
ANSWERS: dict[tuple, Maps] = {}  # of networks, by name and arguments
AFTER_ALL = 'after_all_layers'  # a name that belongs to no layer, as those of heads
NORM_AFTER_POOLING = 'Hiera', 'HieraDet'  # whose forward_intermediates refuses norm=True


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A network of timm, such as DINOv3, that returns maps ``(B, C, H / stride, W / stride)``.

    ``custom_imports = dict(imports=['mmvit_backbones.integrations.timm_backbone'])`` in a config registers it, and all
    networks of this package.

    The maps are those of timm's ``forward_intermediates``, without class and register tokens. Images are padded with
    zeros, below and to the right, to multiples of the largest stride, unless the network takes one size alone, or
    resizes images; and maps are cut to the image. Maps whose cells timm rounds up, such as MobileViTv2's, are resized
    to H / stride. Stages are timm's: those of a network in stages, and the blocks of a plain one, such as DINOv3; what
    is before stride 4 belongs to the stem. What no map of ``out_indices`` needs is removed.

    Args:
        name (str): Name in ``timm.list_models()``, with or without the tag of weights, such as
            ``'vit_small_patch16_dinov3.lvd1689m'``; or what ``timm.create_model`` takes with a prefix, such as
            ``'local-dir:FOLDER'``.
        pretrained (bool): Whether to download and load timm's weights. ``pretrained_cfg_overlay=dict(file=FILE)``
            beside it loads a file, which timm converts, and which must be complete. Defaults to False.
        out_indices (Sequence[int] | int | None): Stages whose maps are returned, in ascending order; negative ones
            count from the end. Defaults to None: the last stage of each stride, so the last block of a plain network.
        frozen_stages (int): -1 freezes nothing, 0 the stem, ``n`` the stem and the first ``n`` stages, and their number
            everything: parameters have no gradient, and modules stay in evaluation mode. Defaults to -1.
        norm (bool): Whether timm applies the network's own last norm: to all maps of a plain network, to the last one
            of others, and to none if the norm follows the pooling. Defaults to True.
        with_cp (bool): Whether to use timm's activation checkpointing, which saves memory. Defaults to False.
        init_cfg (dict | list[dict] | None): Initialization config of MMEngine. ``dict(type='Pretrained',
            checkpoint=FILE)`` loads a training of your own. Defaults to None: weights are timm's.
        norm_eval (bool): Whether batch norms stay in evaluation mode during training. Defaults to False.
        out_type (str): ``'featmap'`` for maps, or ``'pre_logits'`` for one vector ``(B, C)`` per image: what timm's own
            last layer reads, after its pooling and the layers between the last map and the last layer. Defaults to
            ``'featmap'``.
        arguments: Further arguments of ``timm.create_model``, such as ``drop_path_rate`` or ``img_size``.

    Attributes:
        channels (tuple[int, ...]): Channels of the maps.
        output_strides (tuple[int, ...]): Strides of the maps in pixels.
        num_stages (int): Number of stages.
        image_size (tuple[int, int] | None): Height and width that images must have; None if they may have any.

    Raises:
        UsageError: If timm is not installed, has no network with this name, or an argument is invalid, or if maps do
            not cover the image, because the network resizes it, does not pad it or refuses its size.
        CheckpointError: If weights cannot be loaded.

    Example:
        >>> import torch
        >>> from mmvit_backbones.integrations.timm_backbone import TimmBackbone
        >>> [tuple(x.shape) for x in TimmBackbone('resnet18')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    def __init__(self, name: str, pretrained: bool = False, out_indices: Sequence[int] | int | None = None,
                 frozen_stages: int = -1, norm: bool = True, with_cp: bool = False,
                 init_cfg: dict | list[dict] | None = None, norm_eval: bool = False,
                 out_type: Literal['featmap', 'pre_logits'] = 'featmap', **arguments: Any) -> None:
        super().__init__(with_own_pretrained(init_cfg))
        if out_type not in ('featmap', 'pre_logits') or (out_type == 'pre_logits' and out_indices is not None):
            raise UsageError("out_type must be 'featmap', or 'pre_logits' without out_indices, got "
                             f'{out_type!r} and out_indices={out_indices}')
        self.name, self.frozen_stages, self.in_channels = name, frozen_stages, arguments.get('in_chans', 3)
        self.norm_eval, self.out_type = norm_eval, out_type
        self._depths: dict[bool, dict[str, int]] = {}
        self.model, takes_any_size, missing = create(name, pretrained, arguments)
        if not hasattr(self.model, 'forward_intermediates'):
            raise UsageError(f'timm:{name} has no forward_intermediates, which returns feature maps')
        self.norm = norm and type(self.model).__name__ not in NORM_AFTER_POOLING
        infos = list(self.model.feature_info)
        self.levels = [index for index, info in enumerate(infos) if info['reduction'] >= 4]
        self.num_stages = len(self.levels)
        if not is_integer(frozen_stages) or not -1 <= frozen_stages <= self.num_stages:
            raise UsageError(f'frozen_stages must be an integer from -1 to {self.num_stages}, which freezes all of '
                             f'timm:{name}, got {frozen_stages!r}')
        self.out_indices = self._out_indices([info['reduction'] for info in infos], out_indices)
        self.indices = [self.levels[index] for index in self.out_indices]
        self.output_strides = tuple(infos[index]['reduction'] for index in self.indices)
        is_plain = len({info['reduction'] for info in infos}) == 1
        self.channels = tuple(self.model.num_features if is_plain and self.norm else infos[index]['num_chs']
                              for index in self.indices)
        if out_type == 'pre_logits':
            self.channels, self.output_strides = (self.model.head_hidden_size, ), (infos[-1]['reduction'], )
        self.multiple = max(info['reduction'] for info in infos[:self.indices[-1] + 1])
        is_fixed = not takes_any_size and self.model.pretrained_cfg.get('fixed_input_size', False)
        self.image_size, self.is_resized, refusals = self._ask(is_fixed, arguments)
        refused = {stage: why for stage, why in zip(self.out_indices, refusals) if why}
        # A network that refuses sizes may take padded ones; one that resizes images would resize the padding, too.
        self.is_padded = not self.image_size and not (refused and self.is_resized)
        if out_type == 'featmap' and refused:
            raise UsageError(f'timm:{name} has no maps of the image for out_indices={[*refused]}: '
                             f'{next(iter(refused.values()))}; take maps of other stages by out_indices, or one vector '
                             "per image by out_type='pre_logits'")
        frozen = self._frozen_parameters(infos)
        if out_type == 'featmap':
            self.model.prune_intermediate_layers(self.indices, prune_norm=not self.norm)
        check_complete(name, missing & self.model.state_dict().keys(), file := file_of(arguments))
        if file and pretrained:
            check_finite(self.model.state_dict(), file)
        if with_cp:
            self.model.set_grad_checkpointing()
        for key, parameter in self.model.named_parameters():
            parameter.requires_grad_(key not in frozen)
        self._frozen = [key for key, module in self.model.named_modules()
                        if {parameter.requires_grad for parameter in module.parameters()} == {False}]
        self.train(self.training)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the features for a neck or head.

        Args:
            images (Tensor): ``(B, 3, H, W)``, of any height and width unless ``image_size`` is set.

        Returns:
            tuple[Tensor, ...]: One map ``(B, C, H / stride, W / stride)`` per entry of ``out_indices``; sides are
            rounded up. With ``out_type='pre_logits'``, one vector ``(B, C)``.

        Raises:
            UsageError: If the images have another size than the only one that the network takes.
        """
        height, width = images.shape[2:]
        if self.image_size and self.image_size != (height, width):
            raise UsageError(f'images must have {by(self.image_size)} pixels for timm:{self.name}, got {height} x '
                             f'{width}; set img_size, or take a network for images of any size')
        if self.is_padded:
            images = pad_images(images, self.multiple)
        if self.out_type == 'pre_logits':
            return self.model.forward_head(self.model.forward_features(images), pre_logits=True),
        maps = self.model.forward_intermediates(images, indices=self.indices, norm=self.norm, intermediates_only=True)
        maps = [F.interpolate(x, [ceil_div(side, stride) for side in images.shape[2:]], mode='bilinear')
                if is_resized else x for x, stride, is_resized in zip(maps, self.output_strides, self.is_resized)]
        maps = [crop(x.permute(0, 2, 3, 1), ceil_div(height, stride), ceil_div(width, stride)).permute(0, 3, 1, 2)
                for x, stride in zip(maps, self.output_strides)]
        return tuple(x.contiguous() for x in maps)  # operators of mmcv, such as RoIAlign, ignore the strides of tensors

    def init_weights(self) -> None:
        """Applies ``init_cfg``. timm has given the network its weights, which MMEngine would replace by random ones."""
        initialize(self, self.init_cfg)

    def train(self, mode: bool = True) -> 'TimmBackbone':
        super().train(mode)
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm)] if self.norm_eval else []
        for module in [*map(self.model.get_submodule, self._frozen), *norms]:
            module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter, 0 for the stem, and the number of depths, by timm's ``group_matcher``.

        Parameters outside of the backbone, such as those of heads, have the last depth.
        """
        return self._depth(param_name, prefix, coarse=False)

    def get_stage_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter like :meth:`get_layer_depth`, but counts each stage as one layer."""
        return self._depth(param_name, prefix, coarse=True)

    def names_of_weights(self) -> list[str]:
        """Returns the names of the parameters that timm's weights have; others exist by the arguments alone."""
        theirs = timm_network(self.name).state_dict()
        return [name for name, _ in self.named_parameters() if name.removeprefix('model.') in theirs]

    def tables_tokens_and_gates(self) -> set[str]:
        """Returns the names of position tables, tokens and other parameters that timm trains without weight decay."""
        patterns = getattr(self.model, 'no_weight_decay', set)()
        return {f'model.{name}' for name, _ in self.model.named_parameters()
                if any(fnmatchcase(name, pattern) for pattern in patterns)}

    def _depth(self, param_name: str, prefix: str, coarse: bool) -> tuple[int, int]:
        """Returns the depth of a parameter, or the last one outside of the backbone, and the number of depths."""
        if coarse not in self._depths:
            self._depths[coarse] = self._find_depths(coarse)
        depths = self._depths[coarse]
        name = param_name.removeprefix(prefix) if param_name.startswith(prefix) else AFTER_ALL
        return depths[name], depths[AFTER_ALL] + 1

    def _find_depths(self, coarse: bool) -> dict[str, int]:
        """Returns the depth of all parameters, in layers or, if ``coarse``, in stages, and that after all layers."""
        if not hasattr(self.model, 'group_matcher'):
            raise UsageError(f'timm:{self.name} has no group_matcher, which defines its layers; turn layer decay off '
                             'by decay_rate=1')
        names = [*(name for name, _ in self.model.named_parameters()), AFTER_ALL]
        named: Any = SimpleNamespace(named_parameters=lambda: [(name, name) for name in names])
        try:
            groups: Any = group_parameters(named, self.model.group_matcher(coarse=coarse), reverse=True)
        except AssertionError as error:  # of RDNet, which has no stages
            raise UsageError(f'timm:{self.name} does not define its {"stages" if coarse else "layers"} '
                             f'({first_line(error)}); set decay_type={"layer" if coarse else "stage"}_wise, or turn '
                             'layer decay off by decay_rate=1') from error
        return {name if name == AFTER_ALL else f'model.{name}': groups[name] for name in names}

    def _out_indices(self, strides: Sequence[int], given: Sequence[int] | int | None) -> tuple[int, ...]:
        """Returns the stages whose maps are returned, without negative indices."""
        if given is None:
            return tuple({strides[index]: stage for stage, index in enumerate(self.levels)}.values())
        indices, count = (tuple(given) if isinstance(given, Sequence) else (given, )), self.num_stages
        taken = [index % count for index in indices if is_integer(index) and -count <= index < count]
        if not taken or len(taken) < len(indices) or taken != sorted(set(taken)):
            raise UsageError(f'out_indices must be ascending stage indices from 0 to {count - 1}, or from {-count} to '
                             f'-1, for timm:{self.name}, got {given!r}')
        return tuple(taken)

    def _ask(self, is_fixed: bool, arguments: dict[str, Any]) -> Maps:
        """Returns how the maps cover the image, which timm is asked once per name and arguments."""
        key = self.name, repr(sorted(arguments.items())), *self.indices
        if key not in ANSWERS:
            own = arguments.get('img_size') or self.model.pretrained_cfg['input_size'][1:]
            size = self.in_channels, *height_and_width(own, 'img_size')
            try:
                ANSWERS[key] = ask_maps(on_meta(self.model).eval(), self.indices, size, is_fixed)
            except RuntimeError:  # of Gemma 4, which reads values: the smallest images take little time
                ANSWERS[key] = ask_maps(self.model.eval(), self.indices, (self.in_channels, 1, 1), is_fixed)
        return ANSWERS[key]

    def _frozen_parameters(self, infos: Sequence[dict]) -> set[str]:
        """Returns timm's names of the frozen parameters: all of a network that ends at the last frozen stage."""
        if self.frozen_stages in (-1, self.num_stages):
            return set() if self.frozen_stages < 0 else {name for name, _ in self.model.named_parameters()}
        network, last = on_meta(self.model), self.levels[max(self.frozen_stages, 1) - 1]
        network.prune_intermediate_layers([last], prune_norm=True)
        names = {name for name, _ in network.named_parameters()}
        if self.frozen_stages:
            return names
        stem = {name for name in names if not name.startswith(f'{infos[last]["module"]}.')}
        if stem == names:
            raise UsageError(f'frozen_stages must not be 0 for timm:{self.name}, as timm does not tell its stem from '
                             'its first stage; 1 freezes both')
        return stem


def create(name: str, pretrained: bool, arguments: dict[str, Any]) -> tuple[Any, bool, set[str]]:
    """Returns a network of timm without head.

    Also returns whether it has an argument with which it takes images of any size, and what its weights lack.
    """
    if ':' not in name and not timm.is_model(name):
        near = near_names(name.partition('.')[0], timm.list_models())
        raise UsageError(f'timm {timm.__version__} has no network {name}{near or "; see timm.list_models()"}')
    refused = None
    for options in ANY_SIZE:
        missing: set[str] = set()
        try:
            with recorded_loading(missing), brief_warnings(f'timm:{name}'):
                network = timm.create_model(name, pretrained=pretrained, num_classes=0, **options, **arguments)
        except TypeError as error:  # perhaps of the options, which not all networks have
            refused = error
            continue
        except Exception as error:  # timm and its downloaders raise errors of several packages
            if not pretrained:
                raise UsageError(f'timm:{name} cannot be built: {first_line(error)}') from error
            file = file_of(arguments)
            check_complete(name, missing, file)
            if file:
                raise CheckpointError(f'{file} cannot be loaded into timm:{name}: {first_line(error)}') from error
            raise CheckpointError(f'the weights of timm:{name} cannot be downloaded: {first_line(error)}; download '
                                  f'{address_of(name)} elsewhere, and pass the file: mmvit train --pretrained FILE, in '
                                  'a config pretrained_cfg_overlay=dict(file=FILE)') from error
        return network, bool(options), missing
    raise UsageError(f'timm:{name} cannot be built with {arguments}: {refused}') from refused


@contextmanager
def recorded_loading(missing: set[str]) -> Iterator[None]:
    """Adds the names that a state dict lacks which is loaded into a network that is built meanwhile."""
    handles = []

    def watch(parent: nn.Module, name: str, module: nn.Module | None) -> None:
        if module is not None:
            handles.append(module.register_load_state_dict_post_hook(
                lambda module, incompatible: missing.update(incompatible.missing_keys)))

    handles.append(register_module_module_registration_hook(watch))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def file_of(arguments: dict[str, Any]) -> str | None:
    return (arguments.get('pretrained_cfg_overlay') or {}).get('file')


def address_of(name: str) -> str:
    """Returns where the weights of a network are that timm downloads."""
    cfg = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    return f'https://huggingface.co/{cfg.hf_hub_id}/resolve/main/model.safetensors' if cfg.hf_hub_id else f'{cfg.url}'


def check_complete(name: str, missing: set[str], file: str | None) -> None:
    """Raises CheckpointError if a file lacks weights of a network; timm says so in its log only.

    It may lack what the network only has by its arguments.
    """
    own = timm_network(name).state_dict().keys() if file and missing else set()
    lacking = sorted(missing & own)
    if file and lacking:
        checkpoint = read_checkpoint(file)
        remedy = describe_names({name[1:] for name in names_in(checkpoint)} - own) or (
            "; a training with TimmBackbone is loaded by init_cfg=dict(type='Pretrained', checkpoint=FILE)")
        if (prefixes := prefixes_in(checkpoint, own)) and prefixes[0] not in WHOLE:
            remedy = f'; it has them with the prefix {prefixes[0]}: {use_of_prefix(file, prefixes[0])}'
        raise CheckpointError(f'{file} lacks {len(lacking)} weights of timm:{name}, such as {lacking[0]}{remedy}')
