"""Base class of the backbones, with the interface that mmpretrain, mmdet and mmseg expect."""
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from inspect import Signature, signature
from itertools import accumulate
from numbers import Integral
from typing import Any, TypedDict

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from typing_extensions import Unpack

from ..errors import UsageError
from ..layers import checkpointed
from ..ops.graphs import require_compiler
from ..utils.argument_docs import with_arguments_of
from ..utils.initialization import with_own_pretrained
from .compilation import CompiledByBlocks

NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm, _InstanceNorm)
NO_NORM = nn.Identity()


class CommonArguments(TypedDict, total=False):
    """The arguments of :class:`Backbone` that all networks have, documented there, with the same defaults."""
    in_channels: int
    out_indices: Sequence[int] | int | None
    frozen_stages: int
    norm_eval: bool
    with_cp: bool
    init_cfg: dict | list[dict] | None


class Backbone(CompiledByBlocks):
    """Base class of all networks, with output norms, freezing and activation checkpointing.

    The constructor of a network calls this constructor, builds the modules, calls :meth:`add_output_norms` if the
    network has output norms, then :meth:`init_layers` and :meth:`freeze`, also in subclasses that add modules. The
    network defines ``arch_zoo``, ``stem_names``, ``image_convs``, ``block_types`` unless its blocks are of
    ``BaseBlock``, :meth:`iter_stages`, :meth:`stage_layers` and, for other initial values than those of PyTorch,
    ``init_layers``. In its docstring, ``NAME, NAME: As in :class:`Backbone`.`` stands for the documentation of these
    arguments below, which ``help`` shows instead.

    Images may have any size of at least 1 x 1 pixel, unless the network's documentation says otherwise. To synchronize
    the batch norms of all processes, set ``sync_bn='torch'`` in the config of MMEngine's runner.

    Departures from the authors' code:

    - Images may have any size. Where the authors' code runs, results are equal.
    - The names of weights differ; files with the authors' names are converted when they are loaded.
    - In float16 and bfloat16, other operations run in float32: deviations are at most 1.25 times the authors'.
    - Stages freeze as in mmdetection; in the authors' detectors of ResT and ViTAEv2, freezing stops with an error.

    Args:
        channels (Sequence[int]): Channels of each stage.
        strides (Sequence[int]): Stride of each stage's own map, as of :meth:`forward_stages`, in pixels.
        in_channels (int): Channels of the images.
        out_indices (Sequence[int] | int | None): Stages whose features are returned, counted from 0 and in ascending
            order. None returns the features of all stages.
        frozen_stages (int): -1 freezes nothing, 0 the stem, and ``n`` the stem and the first ``n`` stages. Plain
            networks have a single stage (Refiner-ViT four, quarters of its blocks), whereas mmpretrain's
            VisionTransformer counts blocks: ``frozen_stages=12`` there, which freezes all, is ``frozen_stages=1`` here.
            To freeze some blocks of a stage, set ``lr_mult=0`` for their names in ``paramwise_cfg``.
        norm_eval (bool): Whether batch norms stay in evaluation mode during training.
        with_cp (bool): Whether to use activation checkpointing of blocks, which saves memory. Gradients stay the same.
        init_cfg (dict | list[dict] | None): Initialization config of MMEngine. ``dict(type='Pretrained',
            checkpoint=FILE)`` loads a file of the authors or of your own training, and ``'official://NAME'`` the
            published weights ``NAME``. Weights that don't match the network raise an error.

    Raises:
        ValueError: If an argument has an invalid value.
    """

    arch_zoo: dict[str, Any] = {}  # settings by name
    stem_names: tuple[str, ...] = ('patch_embed', )  # names of the modules before the first stage
    image_convs: tuple[str, ...] = ('patch_embed.proj', )  # names of the convolutions that read the images
    min_size = 1  # smallest height and width of images, in pixels
    normed_stages: Sequence[int] = ()  # stages that have an output norm
    optional: tuple[str, ...] = ()  # patterns of weights that files may lack as a whole; see zoo/loading.py
    no_decay: tuple[str, ...] = ()  # parts of names without weight decay: tables, tokens, gates
    plain_blocks: str | None = None  # list of blocks of a plain network, which has a single stage

    def __init__(self, *, channels: Sequence[int], strides: Sequence[int], in_channels: int = 3,
                 out_indices: Sequence[int] | int | None = None, frozen_stages: int = -1, norm_eval: bool = False,
                 with_cp: bool = False, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(with_own_pretrained(init_cfg))
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.num_stages = len(self.channels)
        self.in_channels = in_channels
        if not is_integer(in_channels) or in_channels < 1:
            raise ValueError(f'in_channels must be an integer of at least 1, got {in_channels!r}')
        allowed = range(self.num_stages)
        indices = allowed if out_indices is None else out_indices
        self.out_indices = tuple(indices) if isinstance(indices, Sequence) else (indices, )
        ascending = [stage for stage in allowed if stage in self.out_indices]
        are_integers = all(map(is_integer, self.out_indices))
        if not self.out_indices or not are_integers or list(self.out_indices) != ascending:
            raise ValueError(f'out_indices must be ascending stage indices from 0 to {allowed[-1]}, got '
                             f'{out_indices!r}')
        if not is_integer(frozen_stages) or not -1 <= frozen_stages <= self.num_stages:
            raise ValueError(f'frozen_stages must be an integer from -1 to {self.num_stages}, got {frozen_stages!r}; '
                             "it counts stages, not blocks as in mmpretrain's VisionTransformer: "
                             f'{self.num_stages} freezes all blocks; to freeze some of a stage, set lr_mult=0 for '
                             'them in paramwise_cfg')
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__doc__ = with_arguments_of('Backbone', Backbone.__doc__, cls.__doc__)
        cls.__signature__ = signature_of(cls)

    # ---- for networks to implement

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Any]]:
        """Yields the map of each stage before and after its output norm, channels-last ``(B, H, W, C)``."""
        raise NotImplementedError

    def iter_blocks(self, images: Tensor) -> Iterator[Tensor]:
        """Yields the map ``(B, H, W, C)`` after each block of a plain network; other networks don't have it."""
        raise NotImplementedError

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns the layers of a stage in order, each as a list of modules.

        A layer is a block together with neighboring modules that get the same learning rate in layer-wise decay, such
        as the downsampling before the block. Output norms are not included unless documented otherwise.
        """
        raise NotImplementedError

    def init_layers(self) -> None:
        """Initializes the layers that don't use PyTorch's default initialization; network constructors call it."""

    def links_after(self, stage: int) -> list[nn.Module]:
        """Returns the last modules of a stage that only the next stage needs, such as a downsampling."""
        return []

    def stage_output(self, stage: int) -> nn.Module:
        """Returns the module that returns the map ``(B, H, W, C)`` of a stage, alone or first in a tuple."""
        return self.modules_until(stage)[-1 - len(self.links_after(stage))]

    @property
    def output_strides(self) -> tuple[int, ...]:
        """Returns the stride of the map of each stage that :meth:`forward` returns, in pixels."""
        return self.strides

    # ---- for users to call

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the features for a neck or head.

        Args:
            images (Tensor): ``(B, in_channels, H, W)`` of any height and width.

        Returns:
            tuple[Tensor, ...]: One map ``(B, C, H / stride, W / stride)`` per entry of ``out_indices``, after the
            output norm if its stage has one. Sides are rounded up.

        Raises:
            ValueError: If the images have another number of dimensions or channels, or an unsupported size.
            UsageError: If the network is compiled, but PyTorch is too old for this, or if ``torch.jit`` traces it.
        """
        features, _ = self.forward_with_stages(images, self.out_indices[-1] + 1)
        return features

    def forward_stages(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the map ``(B, C, H / stride, W / stride)`` of each stage, before the output norm."""
        _, pre_norm = self.forward_with_stages(images)
        return pre_norm

    def forward_with_stages(self, images: Tensor,
                            num_stages: int | None = None) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns the results of :meth:`forward` and :meth:`forward_stages`, for the first ``num_stages`` or all."""
        self.check_images(images)
        features, pre_norm = [], []
        for stage, (x, out) in zip(range(num_stages or self.num_stages), self.iter_stages(images)):
            pre_norm.append(x.permute(0, 3, 1, 2))
            if stage in self.out_indices:
                # Contiguous, because operators of mmcv, such as RoIAlign, ignore the strides of tensors.
                features.append(out.permute(0, 3, 1, 2).contiguous() if torch.is_tensor(out) else out)
        return tuple(features), tuple(pre_norm)

    def check_images(self, images: Tensor) -> None:
        require_compiler()
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage] - torch does not list it in __all__
            raise UsageError('torch.jit.trace and torch.onnx.export(dynamo=False) are not supported; use torch.export '
                             'or torch.onnx.export(dynamo=True)')
        expected = f'images must be (B, {self.in_channels}, H, W), got {tuple(images.shape)}'
        if images.ndim != 4:
            raise ValueError(expected)
        if images.shape[1] != self.in_channels and (convs := self.convs_for_other_channels(images.shape[1])):
            raise ValueError(f'{expected}; to read {images.shape[1]} channels, pass in_channels (in timm in_chans), or '
                             f'replace {", ".join(convs)}')
        if min(images.shape[2:]) < (side := self.min_size):
            raise ValueError(f'images must be at least {side} x {side} pixels, got {tuple(images.shape)}')

    def convs_for_other_channels(self, channels: int) -> list[str]:
        """Returns the names of ``image_convs`` that don't read ``channels``; users may have replaced convolutions."""
        return [name for name in self.image_convs
                if getattr(self.get_submodule(name), 'in_channels', channels) != channels]

    def reset_weights(self) -> None:
        """Initializes all weights and running statistics as in the constructor, for example after ``to_empty``.

        :meth:`init_weights` applies only ``init_cfg``, and a complete checkpoint replaces all values.
        """
        for module in self.modules():
            reset = getattr(module, 'reset_parameters', None)
            if reset is not None:
                reset()
        self.init_layers()

    def train(self, mode: bool = True) -> 'Backbone':
        super().train(mode)
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm)] if self.norm_eval else []
        for module in [*self.frozen_modules(), *norms]:
            module.eval()
        return self

    def run_block(self, block: nn.Module, *args) -> Any:
        """Calls a block, with activation checkpointing if ``with_cp`` is set."""
        is_checkpointed = self.with_cp and self.training and torch.is_grad_enabled()
        return checkpointed(block, *args) if is_checkpointed else block(*args)

    # ---- output norms

    def add_output_norms(self, eps: float, stages: Sequence[int] | None = None) -> None:
        """Adds a LayerNorm ``norm{stage}`` for each of ``stages``, by default for the stages in ``out_indices``."""
        self.normed_stages = self.out_indices if stages is None else tuple(stages)
        for stage in self.normed_stages:
            self.add_module(f'norm{stage}', nn.LayerNorm(self.channels[stage], eps=eps))

    def output_norm(self, stage: int) -> nn.Module:
        return getattr(self, f'norm{stage}', NO_NORM)

    # ---- freezing and layers

    def stem_modules(self) -> list[nn.Module]:
        """Returns the modules of the stem, whose names are in ``stem_names``."""
        return [self.get_submodule(name) for name in self.stem_names]

    def stage_modules(self, stage: int) -> list[nn.Module]:
        """Returns the modules of one stage, without its output norm."""
        return [module for layer in self.stage_layers(stage) for module in layer]

    def modules_until(self, stage: int) -> list[nn.Module]:
        """Returns the modules of the stem and of the stages up to one, in order, without output norms."""
        return self.stem_modules() + [module for i in range(stage + 1) for module in self.stage_modules(i)]

    def frozen_modules(self) -> list[nn.Module]:
        modules = self.modules_until(self.frozen_stages - 1) if self.frozen_stages >= 0 else []
        return modules + [self.output_norm(stage) for stage in self.normed_stages if stage < self.frozen_stages]

    def freeze(self) -> None:
        """Freezes the modules that ``frozen_stages`` includes; network constructors call it last."""
        for module in self.frozen_modules():
            module.eval().requires_grad_(False)

    def no_weight_decay(self) -> set[str]:
        """Returns the names of the parameters without weight decay in training.

        These are the parameters of norms, position tables, tokens, gates and scales. Recipes differ for
        biases of other layers.
        """
        return {f'{path}.{own}'.lstrip('.') for path, module in self.named_modules()
                for own, _ in module.named_parameters(recurse=False)
                if isinstance(module, NORMS)} | self.tables_tokens_and_gates()

    def tables_tokens_and_gates(self) -> set[str]:
        """Returns the names of position tables, tokens, gates and other own parameters without weight decay."""
        return {name for name, _ in self.named_parameters() if any(part in name for part in self.no_decay)}

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
        for name in param_name.removeprefix(prefix).split('.') if param_name.startswith(prefix) else []:
            module = getattr(module, name, None)
            depth = depth_of.get(module, depth)
        return depth, len(layers) + 1

    def get_stage_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Returns the depth of a parameter like :meth:`get_layer_depth`, but counts each stage as one layer."""
        depth, _ = self.get_layer_depth(param_name, prefix)
        counts = [len(self.stage_layers(stage)) for stage in range(self.num_stages)]
        last_layers = list(accumulate(counts, initial=0))  # index of the last layer in the stem and in each stage
        return bisect_left(last_layers, depth), self.num_stages + 2


def signature_of(network: type[Backbone]) -> Signature:
    """Returns the arguments of a network, with those that ``**common`` stands for."""
    _, *own = signature(network.__init__).parameters.values()
    if own[-1:] and own[-1].annotation == Unpack[CommonArguments]:
        shared = signature(Backbone.__init__).parameters
        own[-1:] = [shared[name] for name in CommonArguments.__annotations__]
    return Signature(own)


def is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
