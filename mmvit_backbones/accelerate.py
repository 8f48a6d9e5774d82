"""Replacement of modules by faster ones, whose results differ only by rounding."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .utils import versions

MAPS = 16  # batch size of the convolutions; with a single thread, PyTorch runs smaller batches in MKL


def accelerate(model: nn.Module, inference: bool = False) -> nn.Module:
    """Replaces modules of a model in place with faster ones for the model's device.

    Parameters, buffers, hooks and the ``state_dict`` stay the same. In float32, results typically agree within a
    relative error of 1e-5.

    On CPUs, float32 linear layers run in oneDNN: as 1 x 1 convolutions or, with ``inference``, with a copy of each
    weight in the memory layout of oneDNN. PyTorch itself runs them in MKL, which is slower on AMD processors.
    Measurements are in ``docs/benchmarks.md``. On other devices, no module is replaced. Compiled modules become no
    faster, because their graphs contain plain linear layers.

    Args:
        model (nn.Module): A backbone, or a model that contains a backbone.
        inference (bool): Whether to set evaluation mode and use modules that are faster without gradients.

    Returns:
        nn.Module: The same model.

    Raises:
        TypeError: If ``model`` is not an ``nn.Module``.
        ValueError: If the parameters of ``model`` are on several devices.

    Example:
        >>> import mmvit_backbones
        >>> model = mmvit_backbones.get_model('rest_lite', task='backbone')
        >>> model = mmvit_backbones.accelerate(model, inference=True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be an nn.Module, got {type(model).__name__}')
    devices = {str(parameter.device) for parameter in model.parameters()}
    if len(devices) > 1:
        raise ValueError(f'model must be on one device, got {sorted(devices)}')
    if inference:
        model.eval()
    if devices != {'cpu'} or not torch.backends.mkldnn.is_available():
        return model
    linear = PackedLinear if inference else OneDNNLinear
    # Subclasses of nn.Linear, such as parametrized layers and those of adapters and quantizers, are not replaced.
    fastest = {nn.Linear: linear, OneDNNLinear: linear}
    replaced = {}  # a module that is used in several places gets a single replacement
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children omits second names of a module
            if child is not None and type(child) in fastest:
                setattr(parent, name, replaced.setdefault(child, with_class(child, fastest[type(child)])))
    return model


def with_class(module: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """Returns a module of class ``kind`` with the parameters, children, hooks and attributes of ``module``."""
    new = kind.__new__(kind)
    vars(new).update(vars(module))
    return new


def is_fast_in_onednn(x: Tensor) -> bool:
    """Returns whether oneDNN speeds up a linear layer for this input.

    Compiled graphs keep the plain linear layer. Under autocast, PyTorch itself uses oneDNN.
    """
    return (x.device.type == 'cpu' and x.dtype == torch.float32 and x.numel() > 0 and x.ndim > 1
            and not versions.is_compiling() and not versions.is_autocast_enabled('cpu'))


class OneDNNLinear(nn.Linear):
    """``nn.Linear`` computed in oneDNN as a 1 x 1 convolution of channels-last maps, without copies of the maps."""

    def forward(self, input: Tensor) -> Tensor:
        if not is_fast_in_onednn(input) or input.shape[:-1].numel() % MAPS:
            return super().forward(input)
        maps = input.reshape(MAPS, -1, 1, self.in_features).permute(0, 3, 1, 2)
        out = F.conv2d(maps, self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)
        return out.reshape(*input.shape[:-1], self.out_features)


class PackedLinear(OneDNNLinear):
    """``nn.Linear`` for inference, with a packed copy of its weight in the memory layout of oneDNN.

    The weight is packed again after it is replaced or changed in place, except through ``weight.data``. The packed
    copy is not used while gradients are enabled, or for weights created in inference mode, whose changes PyTorch does
    not count.
    """
    packed_weight, packed_from = None, None

    def forward(self, input: Tensor) -> Tensor:
        if torch.is_grad_enabled() or not is_fast_in_onednn(input) or self.weight.is_inference():
            return super().forward(input)
        source = self.weight.data_ptr(), self.weight._version
        if self.packed_from != source:
            self.packed_weight, self.packed_from = torch.ops.mkldnn._reorder_linear_weight(self.weight), source
        return torch.ops.mkldnn._linear_pointwise(input, self.packed_weight, self.bias, 'none', [], '')

    def __getstate__(self) -> dict:
        """Returns the state without the packed weight, which can't be copied or pickled."""
        return {**self.__dict__, 'packed_weight': None, 'packed_from': None}
