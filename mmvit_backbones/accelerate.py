"""Faster modules for the device on which a model lives, with the same results."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbones import Backbone
from .backbones.refiner_vit import SharedAttention
from .ops.refined_attention import affine, fold_refiner, refined_attention_in_chunks

EXAMPLE_SIZE = 64  # pixels; of the pass that finds which norm follows which convolution


def accelerate(model: nn.Module, inference: bool = False) -> nn.Module:
    """Swaps in the modules that are fastest on the device of the model, in place.

    Parameters, buffers and ``state_dict`` stay those of the plain model, and results agree in float32 within 1e-5.

    On CPUs, in float32, linear layers run in oneDNN as 1 x 1 convolutions: torch hands their products to MKL, which on
    processors of AMD takes twice the time. With ``inference``, their weights are stored a second time, in the layout
    that oneDNN reads, batch norms are folded into the convolution before them, and Refiner-ViT refines its attention
    maps in chunks that fit the caches. What was measured is in ``docs/benchmarks.md``. On other devices the model is
    returned as it is: nothing else is proven.

    Args:
        model (nn.Module): A backbone or a model that holds one.
        inference (bool): Also what only works in evaluation mode, which it sets. Training such a model again raises an
            error.

    Returns:
        nn.Module: The same model.

    Raises:
        TypeError: If ``model`` is not a module, or is compiled.
        ValueError: If its parameters are on several devices.

    Example:
        >>> import mmvit_backbones
        >>> model = mmvit_backbones.get_model('rest_lite', task='backbone')
        >>> model = mmvit_backbones.accelerate(model, inference=True)
    """
    if not isinstance(model, nn.Module) or isinstance(model, torch._dynamo.OptimizedModule):
        raise TypeError(f'model must be an nn.Module that is not compiled yet, got {type(model).__name__}')
    devices = {str(parameter.device) for parameter in model.parameters()}
    if len(devices) > 1:
        raise ValueError(f'model must be on one device, got {sorted(devices)}')
    if inference:
        model.eval()
    if devices != {'cpu'}:
        return model
    if torch.backends.mkldnn.is_available():
        for module in model.modules():
            if type(module) in (nn.Linear, OneDNNLinear):  # not those of adapters and quantizers, nor parametrized ones
                module.__class__ = PackedLinear if inference else OneDNNLinear
    if inference:
        for backbone in [module for module in model.modules() if isinstance(module, Backbone)]:
            fold_batch_norms(backbone)
    return model


# ---- linear layers


class OneDNNLinear(nn.Linear):
    """``nn.Linear`` as a 1 x 1 convolution of a channels-last map, which oneDNN reads and writes without a copy."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (3, 4) or not is_for_onednn(x):
            return F.linear(x, self.weight, self.bias)
        maps = x.contiguous().view(len(x), -1, *x.shape[-2:]).permute(0, 3, 1, 2)
        out = F.conv2d(maps, self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)
        return out.contiguous().view(*x.shape[:-1], len(self.weight))


class PackedLinear(OneDNNLinear):
    """With the weight in the layout that oneDNN reads, made again when the weight has changed; for inference.

    A convolution reorders its weight at every call and, on one thread, is left to MKL.
    """
    packed_weight, packed_from = None, None

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.ndim < 2 or not is_for_onednn(x):
            return super().forward(x)
        weight = self.weight
        source = weight.data_ptr(), 0 if weight.is_inference() else weight._version
        if self.packed_from != source:
            self.packed_weight, self.packed_from = torch.ops.mkldnn._reorder_linear_weight(weight), source
        return torch.ops.mkldnn._linear_pointwise(x, self.packed_weight, self.bias, 'none', [], '')

    def __getstate__(self) -> dict:
        """For copies: tensors in that layout can't be copied."""
        return {**self.__dict__, 'packed_weight': None, 'packed_from': None}


def is_for_onednn(x: Tensor) -> bool:
    """Not while a graph is recorded, which should say what is meant, nor under autocast, where oneDNN serves anyway."""
    return (not torch.compiler.is_compiling() and x.device.type == 'cpu' and x.dtype == torch.float32
            and x.numel() > 0 and not torch.is_autocast_enabled('cpu'))


# ---- batch norms


class Folded(nn.Module):
    """Computes with what :meth:`fold` made of the weights, which evaluation alone allows."""
    folded: tuple[Tensor, ...] = ()

    def _apply(self, function, *args, **kwargs) -> nn.Module:
        self.folded = tuple(function(x) for x in self.folded)
        return super()._apply(function, *args, **kwargs)

    def train(self, mode: bool = True) -> nn.Module:
        if mode:
            raise RuntimeError('the model was accelerated with inference=True and cannot be trained: build it again')
        return super().train(mode)


class FoldedConv2d(Folded, nn.Conv2d):
    """A convolution with the batch norm after it, whose forward is :class:`FoldedBatchNorm2d`."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, *self.folded)

    def fold(self) -> None:
        scale, shift = affine(*self.norm_after)
        bias = shift if self.bias is None else scale * self.bias + shift
        self.folded = (scale[:, None, None, None] * self.weight).to(self.weight.dtype), bias.to(self.weight.dtype)


class FoldedBatchNorm2d(nn.BatchNorm2d):
    """A batch norm that the convolution before it has applied already."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class ChunkedSharedAttention(Folded, SharedAttention):
    """Refines its maps with folded norms, in chunks."""

    def forward(self, x: Tensor, prev_attn: Tensor) -> tuple[Tensor, Tensor]:
        v = (self.value(x) * self.scale).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        x = refined_attention_in_chunks(prev_attn, v, *self.folded)
        return self.proj(x.transpose(1, 2).flatten(2)), prev_attn

    def fold(self) -> None:
        self.folded = fold_refiner(self.refiner, self.norm)


def fold_batch_norms(backbone: Backbone) -> None:
    """Folds every batch norm that reads the output of a convolution and nothing else."""
    pairs, made = [], {}

    def after_conv(conv: nn.Module, inputs: tuple, out: Tensor) -> None:
        made[id(out)] = conv, out  # the tensor is kept, so that no other takes its id

    def before_norm(norm: nn.Module, inputs: tuple) -> None:
        if id(inputs[0]) in made and norm.track_running_stats and norm.affine:
            pairs.append((made[id(inputs[0])][0], norm))

    shared = [module for module in backbone.modules() if type(module) is SharedAttention]
    inside = {module for attention in shared for module in attention.modules()}
    others = [module for module in backbone.modules() if module not in inside]
    hooks = [module.register_forward_hook(after_conv) for module in others if type(module) is nn.Conv2d]
    hooks += [module.register_forward_pre_hook(before_norm) for module in others if type(module) is nn.BatchNorm2d]
    with torch.no_grad():
        weight = next(backbone.parameters())
        backbone.forward_stages(weight.new_zeros(1, backbone.in_channels, EXAMPLE_SIZE, EXAMPLE_SIZE))
    for hook in hooks:
        hook.remove()
    for conv, norm in pairs:
        conv.__class__, norm.__class__ = FoldedConv2d, FoldedBatchNorm2d
        conv.norm_after = (norm, )  # in a tuple, so that it is no submodule
    for attention in shared:
        attention.__class__ = ChunkedSharedAttention
    if pairs or shared:
        fold_again(backbone)
        backbone.register_load_state_dict_post_hook(fold_again)


@torch.no_grad()
def fold_again(backbone: Backbone, *args) -> None:
    """After weights were loaded."""
    for module in backbone.modules():
        if isinstance(module, Folded):
            module.fold()
