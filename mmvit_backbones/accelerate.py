"""Faster modules for the device on which a model lives, with the same results."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .utils import versions

MAPS = 16  # with fewer images in a batch and a single thread, torch leaves 1 x 1 convolutions to MKL


def accelerate(model: nn.Module, inference: bool = False) -> nn.Module:
    """Replaces modules by the fastest ones for the device of the model, in place.

    Parameters, buffers, hooks and ``state_dict`` stay those of the plain model, and results agree in float32 within
    1e-5.

    On CPUs, in float32, linear layers run in oneDNN as 1 x 1 convolutions: torch hands their products to MKL, which on
    processors of AMD takes twice the time. With ``inference``, their weights are stored a second time, in the layout
    that oneDNN reads. What was measured is in ``docs/benchmarks.md``. On other devices the model is returned as it is:
    nothing else is proven.

    Args:
        model (nn.Module): A backbone or a model that holds one.
        inference (bool): Sets evaluation mode, and uses what is faster without gradients.

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
    if devices != {'cpu'} or not torch.backends.mkldnn.is_available():
        return model
    linear = PackedLinear if inference else OneDNNLinear
    # By exact type: linear layers of adapters and quantizers, and parametrized ones, stay as they are.
    fastest = {nn.Linear: linear, OneDNNLinear: linear}
    replaced = {}  # a module that is used at two places has one replacement
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in fastest:
                setattr(parent, name, replaced.setdefault(child, with_class(child, fastest[type(child)])))
    return model


def with_class(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Returns a module of a class without state of its own, with the parameters, children and hooks of another."""
    new = kind.__new__(kind)
    vars(new).update(vars(module))
    return new


def is_fast_in_onednn(x: Tensor) -> bool:
    """Returns False in graphs, which hold the formula, and under autocast, where PyTorch itself uses oneDNN."""
    return (x.device.type == 'cpu' and x.dtype == torch.float32 and x.numel() > 0 and x.ndim > 1
            and not versions.is_compiling() and not versions.is_autocast_enabled('cpu'))


class OneDNNLinear(nn.Linear):
    """``nn.Linear`` as a 1 x 1 convolution of channels-last maps, which oneDNN reads and writes without a copy."""

    def forward(self, input: Tensor) -> Tensor:
        if not is_fast_in_onednn(input) or input.shape[:-1].numel() % MAPS:
            return super().forward(input)
        maps = input.reshape(MAPS, -1, 1, self.in_features).permute(0, 3, 1, 2)
        out = F.conv2d(maps, self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)
        return out.reshape(*input.shape[:-1], self.out_features)


class PackedLinear(OneDNNLinear):
    """Linear layer with its weight in oneDNN's layout, repacked after the weight changes; has no gradients."""
    packed_weight, packed_from = None, None

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() or not is_fast_in_onednn(input):
            return super().forward(input)
        source = self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version
        if self.packed_from != source:
            self.packed_weight, self.packed_from = torch.ops.mkldnn._reorder_linear_weight(self.weight), source
        return torch.ops.mkldnn._linear_pointwise(input, self.packed_weight, self.bias, 'none', [], '')

    def __getstate__(self) -> dict:
        """Returns the state for copies: tensors in that layout can't be copied."""
        return {**self.__dict__, 'packed_weight': None, 'packed_from': None}
