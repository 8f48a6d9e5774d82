"""Base class of the backbones, with the interface that mmpretrain, mmdet and mmseg expect."""
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

from ..layers import Handover
from ..ops.eager import is_tracing
from ..utils import versions
from .tracing import fixed_sizes, refuse_other_sizes, warn_of_one_size


class Backbone(BaseModule):
    """Base class of the networks: common arguments, output norms, freezing and activation checkpointing.

    A network builds its modules, calls :meth:`add_output_norms` if it has output norms, then :meth:`freeze`, and
    implements the methods of the first section below. It passes ``channels`` and ``strides``. Users set the other
    arguments, which every network accepts, and also ``arch`` and ``drop_path_rate`` (float): the stochastic depth rate
    of the last block, to which the rates increase linearly from 0. Unless a network says otherwise, images may have
    any size from one pixel up.

    Args:
        channels (Sequence[int]): Channels of the raw map of every stage.
        strides (Sequence[int]): Stride of every stage, in pixels.
        in_channels (int): Channels of the images.
        out_indices (Sequence[int] | int | None): Stages whose maps are returned, from 0; None returns all.
        frozen_stages (int): -1 freezes nothing, 0 the stem, ``n`` the stem and the first ``n`` stages.
        norm_eval (bool): Keep batch norms in evaluation mode while training.
        with_cp (bool): Use activation checkpointing: blocks are recomputed in the backward pass, with less memory and
            the same gradients.
        init_cfg (dict | list[dict] | None): MMEngine's. ``dict(type='Pretrained', checkpoint='official://NAME')`` loads
            the authors' weights of the named network, ``checkpoint=FILE`` a file of theirs or of your own training.
            Weights that don't match raise an error.

    Raises:
        ValueError: If an argument has a value that is not allowed; the message names it.
    """

    arch_zoo: dict[str, dict] = {}
    stem: tuple[str, ...] = ('patch_embed', )
    min_size = 1  # of images, in pixels
    traces_all_sizes = False  # whether the graph of torch.jit.trace works for all image sizes
    normed_stages: Sequence[int] = ()  # with an output norm

    def __init__(self, *, channels: Sequence[int], strides: Sequence[int], in_channels: int = 3,
                 out_indices: Sequence[int] | int | None = None, frozen_stages: int = -1, norm_eval: bool = False,
                 with_cp: bool = False, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.num_stages = len(self.channels)
        self.in_channels = in_channels
        allowed = range(self.num_stages)
        indices = allowed if out_indices is None else out_indices
        self.out_indices = (indices, ) if isinstance(indices, int) else tuple(indices)
        if not self.out_indices or [i for i in allowed if i in self.out_indices] != list(self.out_indices):
            raise ValueError(f'out_indices must be ascending, each from 0 to {allowed[-1]}, got {out_indices}')
        if not -1 <= frozen_stages <= self.num_stages:
            raise ValueError(f'frozen_stages must be from -1 to {self.num_stages}, got {frozen_stages}')
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.is_empty = False  # weights have memory, by `to_empty`, but no values yet
        self._register_load_state_dict_pre_hook(self._fill_before_loading)
        self.traced_sizes = set()  # of images, for which a warning was shown

    @classmethod
    def resolve_arch(cls, arch: str | dict) -> dict:
        """Returns the settings of a named architecture, or the given dict after checking it."""
        known = next(iter(cls.arch_zoo.values())).keys()
        if isinstance(arch, str) and arch in cls.arch_zoo:
            return cls.arch_zoo[arch]
        if not isinstance(arch, dict):
            raise ValueError(f'arch must be one of {sorted(cls.arch_zoo)} or a dict, got {arch!r}')
        if arch.keys() != known:
            raise ValueError(f'arch needs exactly the keys {sorted(known)}, got {sorted(arch)}')
        check_arch(arch)
        return dict(arch)

    # ---- what a network implements

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        """Yields the raw map of each stage, channels-last ``(B, H, W, C)``."""
        raise NotImplementedError

    def iter_outputs(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the raw map and the output map of each stage.

        Override it if the output map is not just the raw map after the output norm.
        """
        for stage, x in enumerate(self.iter_stages(images)):
            yield x, self.output_norm(stage)(x)

    def init_layers(self) -> None:
        """Initializes layers that don't keep PyTorch's default initialization; called by the constructor."""

    def stem_modules(self) -> list[nn.Module]:
        """Returns the modules before the first stage, which ``stem`` names."""
        return [self.get_submodule(name) for name in self.stem]

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns the layers of a stage in order: its blocks, each with the modules that belong to it.

        Output norms are not included.
        """
        raise NotImplementedError

    # ---- what a user calls

    def init_weights(self) -> None:
        """Initializes like MMEngine, but ``Pretrained`` never runs code in a file and requires matching weights.

        If a network on the meta device was moved by ``to_empty``, all weights are initialized as in the constructor.
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
        """Returns raw maps ``(B, C, H / stride, W / stride)`` of all stages, before output norms and patch merging."""
        return self._compute(self.raw_maps, images)

    def forward_with_stages(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns the outputs of :meth:`forward` and of :meth:`forward_stages`, from one pass."""
        return self._compute(self.outputs_and_raw_maps, images)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns maps for a neck or head.

        Args:
            images (Tensor): ``(B, in_channels, H, W)``, any height and width.

        Returns:
            tuple[Tensor, ...]: One ``(B, C, H / stride, W / stride)`` map per entry of ``out_indices``, after its
            output norm where the network has one.
        """
        return self._compute(self.outputs, images)

    def train(self, mode: bool = True) -> 'Backbone':
        super().train(mode)
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm)] if self.norm_eval else []
        for module in [*self.frozen_modules(), *norms]:
            module.eval()
        return self

    # ---- what networks share

    def raw_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.permute(0, 3, 1, 2) for x in self.iter_stages(images))

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = zip(range(self.out_indices[-1] + 1), self.iter_outputs(images))
        return tuple(output_map(x) for stage, (_, x) in maps if stage in self.out_indices)

    def outputs_and_raw_maps(self, images: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        raw, outputs = zip(*self.iter_outputs(images))
        return tuple(output_map(outputs[i]) for i in self.out_indices), tuple(x.permute(0, 3, 1, 2) for x in raw)

    def _compute(self, compute: Callable[[Tensor], tuple], images: Tensor) -> tuple:
        """Checks the images and calls ``compute``, with fixed sizes while a graph is traced."""
        if is_tracing() and not self.traces_all_sizes:
            with fixed_sizes():
                return self._trace(compute, images)
        self.check_images(images)
        return compute(images)

    def _trace(self, compute: Callable[[Tensor], tuple], images: Tensor) -> tuple:
        self.check_images(images)
        size = tuple(images.shape[2:])
        if size not in self.traced_sizes:
            self.traced_sizes.add(size)
            warn_of_one_size(*size)
        return compute(refuse_other_sizes(images))

    def check_images(self, images: Tensor) -> None:
        versions.require_compiler()
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f'images must be (B, {self.in_channels}, H, W), got {tuple(images.shape)}')
        if min(images.shape[2:]) < (side := self.min_size):
            raise ValueError(f'images must be at least {side} x {side} pixels, got {tuple(images.shape)}')

    def add_output_norms(self, eps: float, stages: Sequence[int] | None = None) -> None:
        """Adds a LayerNorm ``norm{stage}`` for each output or for the given stages; other maps are returned raw."""
        self.normed_stages = self.out_indices if stages is None else tuple(stages)
        for stage in self.normed_stages:
            self.add_module(f'norm{stage}', nn.LayerNorm(self.channels[stage], eps=eps))
        self._register_load_state_dict_pre_hook(self._match_output_norms)

    def reset_weights(self) -> None:
        """Initializes all weights and running statistics, as in the constructor."""
        for module in self.modules():
            reset = getattr(module, 'reset_parameters', None)
            if reset is not None:
                reset()
        self.init_layers()
        self.is_empty = False

    def _apply(self, fn: Callable, *args, **kwargs) -> 'Backbone':
        """Applies ``fn`` to all tensors, as ``to`` and ``to_empty`` do."""
        was_meta = is_on_meta(self)
        super()._apply(fn, *args, **kwargs)
        self.is_empty = self.is_empty or was_meta and not is_on_meta(self)
        return self

    def _fill_before_loading(self, state_dict: dict, prefix: str, *args) -> None:
        """Initializes weights that have no values yet, unless the checkpoint has all of them."""
        if self.is_empty and not state_dict.keys() >= {prefix + key for key in self.state_dict()}:
            self.reset_weights()
        self.is_empty = False

    def output_norm(self, stage: int) -> nn.Module:
        return getattr(self, f'norm{stage}', nn.Identity())

    def _match_output_norms(self, state_dict: dict, prefix: str, *args) -> None:
        """Makes checkpoints with other ``out_indices`` loadable, and logs the differences.

        Published classifiers have only the norm of the last stage, so the other output norms of a detector keep their
        initial values. Norms of stages that have none here are dropped.
        """
        in_checkpoint = [s for s in range(self.num_stages) if f'{prefix}norm{s}.weight' in state_dict]
        if not in_checkpoint:
            return  # no checkpoint of this network: load_state_dict reports the missing keys
        for stage in set(in_checkpoint) - set(self.normed_stages):
            print_log(f'{prefix}norm{stage}: left out, stage {stage} has no output norm here', logger='current')
            for kind in ('weight', 'bias'):
                state_dict.pop(f'{prefix}norm{stage}.{kind}', None)
        for stage in set(self.normed_stages) - set(in_checkpoint):
            print_log(f'{prefix}norm{stage}: not in the checkpoint, keeps its initial values', logger='current')
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
        """Calls a block, which ``with_cp`` recomputes in the backward pass, with the same random numbers.

        The recomputation does not update running statistics of batch norms again.
        """
        return self._run(block, block, args)

    def run_attention_block(self, block: nn.Module, x: Tensor, prev_attn: Tensor | None,
                            *args) -> tuple[Tensor, Tensor]:
        """Calls a block with the attention map of the previous block; returns its output and its own map."""

        def call(x: Tensor, prev_attn: Tensor | None, *args) -> tuple[Tensor, Tensor]:
            handover = Handover()
            return block(x, prev_attn, handover, *args), handover.attn

        return self._run(call, block, (x, prev_attn, *args))

    def _run(self, call: Callable, block: nn.Module, args: tuple) -> Any:
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return call(*args)
        if versions.is_compiling():  # torch.compile does not support context_fn
            return checkpoint(call, *args, use_reentrant=False)
        return checkpoint(call, *args, use_reentrant=False,
                          context_fn=lambda: (nullcontext(), without_tracking(block)))

    def stage_modules(self, stage: int) -> list[nn.Module]:
        """Returns the modules of one stage, without its output norm."""
        return [module for layer in self.stage_layers(stage) for module in layer]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter, for layer-wise learning rate decay by mmpretrain's optimizer constructor.

        Args:
            param_name (str): Name of the parameter in the whole model.
            prefix (str): What precedes the backbone's own names, e.g. ``'backbone.'``.

        Returns:
            tuple[int, int]: Layer of the parameter (0 is the stem) and the number of layers. Output norms and
            parameters outside the backbone belong to the last layer.
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
        """Returns the same as :meth:`get_layer_depth`, with each stage as one layer."""
        depth, _ = self.get_layer_depth(param_name, prefix)
        counts = [len(self.stage_layers(stage)) for stage in range(self.num_stages)]
        last_layers = list(accumulate(counts, initial=0))  # of the stem, and of each stage
        return bisect_left(last_layers, depth), self.num_stages + 2


def output_map(x: Tensor) -> Tensor:
    """Maps ``(B, H, W, C)`` to ``(B, C, H, W)``, contiguous: mmcv's operators, such as RoIAlign, ignore strides."""
    return x.permute(0, 3, 1, 2).contiguous()


def is_on_meta(module: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in module.parameters())


@contextmanager
def without_tracking(block: nn.Module) -> Iterator[None]:
    """Leaves running statistics of batch norms unchanged; the tensors saved for backward are the same."""
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
    """Returns ``embed_dims``; a single number is doubled from stage to stage."""
    first = arch['embed_dims']
    return [first * 2**stage for stage in range(len(arch.get('depths', [0])))] if isinstance(first, int) else first


def check_arch(arch: dict) -> None:
    """Checks that every list has one entry per stage, and that channels are divisible by heads and groups."""
    lengths = {key: len(value) for key, value in arch.items() if isinstance(value, (list, tuple)) and value}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'arch: every list needs one entry per stage, got {lengths}')
    for key in arch.keys() & {'num_heads', 'reduction_heads', 'groups'}:
        counts = arch[key] if key in lengths else [arch[key]]  # of the last stage
        for channels, count in zip(stage_channels(arch)[-len(counts):], counts):
            if channels % count:
                raise ValueError(f'arch: {channels} channels cannot be split into {count} {key}')
