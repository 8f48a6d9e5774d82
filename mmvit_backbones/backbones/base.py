"""Base class of the backbones, with the interface that mmpretrain, mmdet and mmseg expect."""
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import accumulate
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule, PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..errors import UsageError
from ..utils import versions

# Types of settings in ``arch``, with names in the singular and plural for messages.
TYPES = {bool: ('True or False', 'booleans'), int: ('an integer', 'integers'), float: ('a number', 'numbers'),
         str: ('a string', 'strings')}


class Backbone(BaseModule):
    """Base class of all networks, with common arguments, output norms, freezing and activation checkpointing.

    The constructor of a network passes ``channels`` and ``strides`` to this constructor, builds the modules, calls
    :meth:`add_output_norms` if the network has output norms, and then calls :meth:`freeze`. The network implements
    the methods in the section "for networks to implement".

    Users can pass the other arguments to every network, in addition to ``arch`` and ``drop_path_rate`` (float). The
    latter is the stochastic depth rate of the last block; rates increase linearly from 0 at the first block. Images may
    have any size of at least 1 x 1 pixel. If a network differs, its documentation says so.

    Args:
        channels (Sequence[int]): Channels of each stage's raw map, which is the map before the output norm.
        strides (Sequence[int]): Stride of each stage's raw map, in pixels.
        in_channels (int): Channels of the images.
        out_indices (Sequence[int] | int | None): Indices of the stages whose maps are returned, counted from 0 and in
            ascending order. None returns the maps of all stages.
        frozen_stages (int): -1 freezes nothing, 0 freezes the stem, and ``n`` freezes the stem and the first ``n``
            stages.
        norm_eval (bool): Whether to keep batch norms in evaluation mode during training.
        with_cp (bool): Whether to use activation checkpointing, which saves memory by recomputing blocks in the
            backward pass. Gradients stay the same.
        init_cfg (dict | list[dict] | None): Initialization config of MMEngine.
            ``dict(type='Pretrained', checkpoint='official://NAME')`` loads the authors' checkpoint ``NAME``;
            ``checkpoint=FILE`` loads a local file from the authors or from your own training. Weights that don't match
            the network raise an error.

    Raises:
        ValueError: If an argument has an invalid value.
    """

    arch_zoo: dict[str, dict] = {}
    stem: tuple[str, ...] = ('patch_embed', )
    min_size = 1  # smallest height and width of images, in pixels
    normed_stages: Sequence[int] = ()  # stages that have an output norm

    def __init__(self, *, channels: Sequence[int], strides: Sequence[int], in_channels: int = 3,
                 out_indices: Sequence[int] | int | None = None, frozen_stages: int = -1, norm_eval: bool = False,
                 with_cp: bool = False, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.num_stages = len(self.channels)
        self.in_channels = in_channels
        if in_channels < 1:
            raise ValueError(f'in_channels must be at least 1, got {in_channels}')
        allowed = range(self.num_stages)
        indices = allowed if out_indices is None else out_indices
        self.out_indices = (indices, ) if isinstance(indices, int) else tuple(indices)
        ascending = [stage for stage in allowed if stage in self.out_indices]
        if not self.out_indices or list(self.out_indices) != ascending:
            raise ValueError(f'out_indices must be ascending stage indices from 0 to {allowed[-1]}, got {out_indices}')
        if not -1 <= frozen_stages <= self.num_stages:
            raise ValueError(f'frozen_stages must be from -1 to {self.num_stages}, got {frozen_stages}')
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.is_empty = False  # True after `to_empty`: weights are allocated, but not initialized
        self._register_load_state_dict_pre_hook(self._fill_before_loading)

    def resolve_arch(self, arch: str | dict) -> dict:
        """Returns the settings of a named architecture, or validates a dict of settings and returns a copy."""
        required = next(iter(self.arch_zoo.values())).keys()
        if isinstance(arch, str) and arch in self.arch_zoo:
            return self.arch_zoo[arch]
        if not isinstance(arch, dict):
            raise ValueError(f'arch must be one of {sorted(self.arch_zoo)} or a dict, got {arch!r}')
        if arch.keys() != required:
            raise ValueError(f'arch must have exactly the keys {sorted(required)}, got {list(arch)}')
        check_arch(arch, list(self.arch_zoo.values()))
        return dict(arch)

    # ---- for networks to implement

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        """Yields the raw map of each stage, channels-last ``(B, H, W, C)``."""
        raise NotImplementedError

    def iter_outputs(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the raw map and the output map of each stage.

        By default, the output map is the raw map after the output norm. Networks with other output maps override this
        method.
        """
        for stage, x in enumerate(self.iter_stages(images)):
            yield x, self.output_norm(stage)(x)

    @property
    def output_strides(self) -> tuple[int, ...]:
        """Stride of each stage's output map, in pixels; by default the stride of the raw map."""
        return self.strides

    def init_layers(self) -> None:
        """Initializes the layers that don't use PyTorch's default initialization; network constructors call it."""

    def stem_modules(self) -> list[nn.Module]:
        """Returns the modules of the stem, whose names are in ``stem``."""
        return [self.get_submodule(name) for name in self.stem]

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns the layers of a stage in order, each as a list of modules.

        A layer is a block together with neighboring modules that get the same learning rate in layer-wise decay, such
        as the downsampling before the block. Output norms are not included unless documented otherwise.
        """
        raise NotImplementedError

    # ---- for users to call

    def init_weights(self) -> None:
        """Initializes the network like MMEngine's ``BaseModule``, but with a safe and strict ``Pretrained``.

        Loading a checkpoint never runs code from the file, and raises an error if the weights don't match. If the
        network was moved from the meta device by ``to_empty``, all weights are first initialized as in the constructor.
        """
        if self.is_empty:
            self.reset_weights()
        init_cfg, is_repeated = self.init_cfg, self.is_init
        entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
        pretrained = [entry for entry in entries if entry['type'] in ('Pretrained', PretrainedInit)]
        self.init_cfg = [entry for entry in entries if entry not in pretrained]
        try:
            super().init_weights()
        finally:
            self.init_cfg = init_cfg
        if not is_repeated:
            for entry in pretrained:
                WEIGHT_INITIALIZERS.build({**entry, 'type': 'PretrainedBackbone'})(self)

    def forward_stages(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the raw map ``(B, C, H / stride, W / stride)`` of each stage, before the output norm."""
        return self._compute(self.raw_maps, images)

    def forward_with_stages(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns the outputs of :meth:`forward` and :meth:`forward_stages`, computed in a single pass."""
        return self._compute(self.outputs_and_raw_maps, images)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the feature maps for a neck or head.

        Args:
            images (Tensor): ``(B, in_channels, H, W)`` of any height and width.

        Returns:
            tuple[Tensor, ...]: One map ``(B, C, H / stride, W / stride)`` per entry of ``out_indices``, after the
            output norm if its stage has one. Sides are rounded up.

        Raises:
            ValueError: If the images have another number of dimensions or channels, or an unsupported size.
            UsageError: If the network is compiled, but PyTorch is too old for this, or if ``torch.jit`` traces it.
        """
        return self._compute(self.outputs, images)

    def train(self, mode: bool = True) -> 'Backbone':
        super().train(mode)
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm)] if self.norm_eval else []
        for module in [*self.frozen_modules(), *norms]:
            module.eval()
        return self

    # ---- shared by all networks

    def raw_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.permute(0, 3, 1, 2) for x in self.iter_stages(images))

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = zip(range(self.out_indices[-1] + 1), self.iter_outputs(images))
        return tuple(output_map(x) for stage, (_, x) in maps if stage in self.out_indices)

    def outputs_and_raw_maps(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        raw, outputs = zip(*self.iter_outputs(images))
        return tuple(output_map(outputs[i]) for i in self.out_indices), tuple(x.permute(0, 3, 1, 2) for x in raw)

    def _compute(self, compute: Callable[[Tensor], tuple], images: Tensor) -> tuple:
        """Validates the images and calls ``compute``."""
        self.check_images(images)
        return compute(images)

    def check_images(self, images: Tensor) -> None:
        versions.require_compiler()
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage] - torch does not list it in __all__
            raise UsageError('torch.jit.trace and torch.onnx.export(dynamo=False) are not supported; use torch.export '
                             'or torch.onnx.export(dynamo=True)')
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f'images must be (B, {self.in_channels}, H, W), got {tuple(images.shape)}')
        if min(images.shape[2:]) < (side := self.min_size):
            raise ValueError(f'images must be at least {side} x {side} pixels, got {tuple(images.shape)}')

    def add_output_norms(self, eps: float, stages: Sequence[int] | None = None) -> None:
        """Adds a LayerNorm ``norm{stage}`` for each of ``stages``, by default for the stages in ``out_indices``."""
        self.normed_stages = self.out_indices if stages is None else tuple(stages)
        for stage in self.normed_stages:
            self.add_module(f'norm{stage}', nn.LayerNorm(self.channels[stage], eps=eps))
        self._register_load_state_dict_pre_hook(self._match_output_norms)

    def reset_weights(self) -> None:
        """Initializes all weights and running statistics as in the constructor."""
        for module in self.modules():
            reset = getattr(module, 'reset_parameters', None)
            if reset is not None:
                reset()
        self.init_layers()
        self.is_empty = False

    def _apply(self, fn: Callable, *args, **kwargs) -> 'Backbone':
        """Applies ``fn`` to all tensors like ``nn.Module``, and sets ``is_empty`` when they leave the meta device."""
        was_meta = is_on_meta(self)
        super()._apply(fn, *args, **kwargs)
        self.is_empty = self.is_empty or was_meta and not is_on_meta(self)
        return self

    def _fill_before_loading(self, state_dict: dict, prefix: str, *args) -> None:
        """Initializes the weights of a network after ``to_empty``, unless the checkpoint has all of them."""
        if self.is_empty and not state_dict.keys() >= {prefix + key for key in self.state_dict()}:
            self.reset_weights()
        self.is_empty = False

    def output_norm(self, stage: int) -> nn.Module:
        return getattr(self, f'norm{stage}', nn.Identity())

    def _match_output_norms(self, state_dict: dict, prefix: str, *args) -> None:
        """Makes checkpoints with output norms of other stages loadable, and logs the differences.

        Output norms that the checkpoint lacks keep their initial values; published classifiers, for example, have only
        the norm of the last stage. Norms in the checkpoint that the network lacks are ignored.
        """
        in_checkpoint = [s for s in range(self.num_stages) if f'{prefix}norm{s}.weight' in state_dict]
        if not in_checkpoint:
            return  # load_state_dict reports the missing keys
        for stage in set(in_checkpoint) - set(self.normed_stages):
            print_log(f'{prefix}norm{stage}: in the checkpoint, but not in the network; ignored', logger='current')
            for kind in ('weight', 'bias'):
                state_dict.pop(f'{prefix}norm{stage}.{kind}', None)
        for stage in set(self.normed_stages) - set(in_checkpoint):
            print_log(f'{prefix}norm{stage}: not in the checkpoint, so it keeps its initial values', logger='current')
            for kind, value in getattr(self, f'norm{stage}').named_parameters():
                state_dict[f'{prefix}norm{stage}.{kind}'] = value.detach()

    def frozen_modules(self) -> list[nn.Module]:
        modules = self.stem_modules() if self.frozen_stages >= 0 else []
        for stage in range(self.frozen_stages):
            modules += self.stage_modules(stage)
        return modules + [self.output_norm(stage) for stage in self.normed_stages if stage < self.frozen_stages]

    def freeze(self) -> None:
        for module in self.frozen_modules():
            module.eval().requires_grad_(False)

    def run_block(self, block: nn.Module, *args) -> Any:
        """Calls a block, with activation checkpointing if ``with_cp`` is set.

        The recomputation in the backward pass uses the same random numbers as the forward pass, and doesn't update the
        running statistics of batch norms a second time.
        """
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return block(*args)
        if versions.is_compiling():  # torch.compile supports context_fn for selective checkpointing only
            return checkpoint(block, *args, use_reentrant=False)
        return checkpoint(block, *args, use_reentrant=False,
                          context_fn=lambda: (nullcontext(), without_tracking(block)))

    def stage_modules(self, stage: int) -> list[nn.Module]:
        """Returns the modules of one stage, without its output norm."""
        return [module for layer in self.stage_layers(stage) for module in layer]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter for layer-wise learning rate decay in mmpretrain's optimizer constructor.

        Args:
            param_name (str): Name of the parameter in the whole model.
            prefix (str): Prefix of the backbone's parameters in the whole model, such as ``'backbone.'``.

        Returns:
            tuple[int, int]: Index of the parameter's layer (0 for the stem) and the number of layers. Parameters that
            :meth:`stage_layers` does not include, such as output norms and heads, belong to the last layer.
        """
        layers = [self.stem_modules(), *(layer for i in range(self.num_stages) for layer in self.stage_layers(i))]
        depth_of: dict[object, int] = {module: depth for depth, layer in enumerate(layers) for module in layer}
        module, depth = self, len(layers)
        names = param_name.removeprefix(prefix).split('.') if param_name.startswith(prefix) else []
        for name in names:
            module = getattr(module, name, None)
            depth = depth_of.get(module, depth)
        return depth, len(layers) + 1

    def get_stage_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter like :meth:`get_layer_depth`, but counts each stage as one layer."""
        depth, _ = self.get_layer_depth(param_name, prefix)
        counts = [len(self.stage_layers(stage)) for stage in range(self.num_stages)]
        last_layers = list(accumulate(counts, initial=0))  # index of the last layer in the stem and in each stage
        return bisect_left(last_layers, depth), self.num_stages + 2


def output_map(x: Tensor) -> Tensor:
    """Maps ``(B, H, W, C)`` to a contiguous tensor ``(B, C, H, W)``.

    Operators of mmcv, such as RoIAlign, ignore the strides of tensors.
    """
    return x.permute(0, 3, 1, 2).contiguous()


def is_on_meta(module: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in module.parameters())


@contextmanager
def without_tracking(block: nn.Module) -> Iterator[None]:
    """Prevents batch norms from updating their running statistics, without changing their results."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0., None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, count


def pyramid(arch: dict) -> dict[str, list[int]]:
    """Returns the channels and strides of the stages; strides are 4, 8, 16 and so on."""
    return dict(channels=stage_channels(arch), strides=[4 * 2**stage for stage in range(len(arch['depths']))])


def stage_channels(arch: dict) -> list[int]:
    """Returns the channels of each stage; an integer in ``embed_dims`` is doubled from stage to stage."""
    embed_dims = arch['embed_dims']
    if not isinstance(embed_dims, int):
        return embed_dims
    num_stages = len(arch['depths']) if 'depths' in arch else 1
    return [embed_dims * 2**stage for stage in range(num_stages)]


def check_arch(arch: dict, zoo: list[dict]) -> None:
    """Raises ValueError if settings have other types than in the zoo, are out of range, or don't fit each other."""
    for key, value in arch.items():
        check_setting(key, value, [named[key] for named in zoo])
    lengths = {key: len(value) for key, value in arch.items() if isinstance(value, (list, tuple)) and value}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'arch: every list must have one entry per stage, got lengths {lengths}')
    for key in arch.keys() & {'num_heads', 'reduction_heads', 'groups'}:
        counts = arch[key] if key in lengths else [arch[key]]  # a single number is for the last stage
        for channels, count in zip(stage_channels(arch)[-len(counts):], counts):
            if count < 1 or channels % count:
                raise ValueError(f'arch: channels must be divisible by {key}, got {channels} and {count}')


def check_setting(key: str, value: Any, examples: list) -> None:
    """Checks the type and the sign of a setting; ``examples`` are its values in the named architectures."""
    is_list = isinstance(examples[0], (list, tuple))
    kind = float if key == 'mlp_ratio' else type([entry for x in examples for entry in (x if is_list else [x])][0])
    if kind not in TYPES:
        return
    one, several = TYPES[kind]
    entries = value if is_list else [value]
    if is_list and not isinstance(value, (list, tuple)) or not all(has_type(entry, kind) for entry in entries):
        raise ValueError(f'arch: {key} must be {f"a list of {several}" if is_list else one}, got {value!r}')
    if not entries and all(examples):
        raise ValueError(f'arch: {key} must not be empty, got {value}')
    if key in ('embed_dims', 'pyramid_dims', 'mlp_ratio') and not all(0 < entry < math.inf for entry in entries):
        raise ValueError(f'arch: {key} must be positive, got {value}')
    if key in ('depth', 'depths') and min(entries, default=0) < 0:
        raise ValueError(f'arch: {key} must not be negative, got {value}')


def has_type(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
