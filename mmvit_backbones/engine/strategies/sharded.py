"""Sharded training: weights, gradients and optimizer states are sharded over the processes (FSDP2).

The package does not import this module by default, because the module needs PyTorch 2.7.
"""
import time
from collections.abc import Callable, Iterator

import mmengine
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.model import BaseDataPreprocessor, revert_sync_batchnorm
from mmengine.registry import STRATEGIES
from mmengine.runner.checkpoint import save_checkpoint
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ...utils import versions

versions.require('sharded training (FSDP2)')

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from torch.distributed.tensor import DTensor, distribute_tensor  # noqa: E402


@STRATEGIES.register_module()
class ShardedStrategy(DDPStrategy):
    """Strategy for ``FlexibleRunner`` that applies ``fully_shard`` to each block of the backbone and the whole model.

    Checkpoints are single files. Any number of processes can load them, with or without sharding.

    Example:
        >>> custom_imports = dict(imports=['mmvit_backbones.engine.strategies.sharded'])
        >>> strategy = dict(type='ShardedStrategy')
    """

    def _wrap_model(  # pyright: ignore[reportIncompatibleMethodOverride]  # MMEngine's annotation allows only DDP
            self, model: nn.Module) -> nn.Module:
        for module in model.modules():
            if isinstance(module, BaseDataPreprocessor):
                module.to(get_device())  # sets the device to which the preprocessor moves the data
        model = revert_sync_batchnorm(model) if get_device() == 'cpu' else self.convert_model(model)
        for block in blocks(getattr(model, 'backbone', nn.Module())):
            fully_shard(block)
        fully_shard(model)
        for module in model.modules():
            module.register_load_state_dict_pre_hook(_shard_weights)
        return model

    def model_state_dict(self) -> dict:
        return get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))

    def optim_state_dict(self) -> dict:
        return full_state(self.optim_wrapper.state_dict())

    def load_optim_state_dict(self, state_dict: dict) -> None:
        parameters = [p for group in self.optim_wrapper.param_groups for p in group['params']]
        state = {index: {name: shard_of(value, parameters[index]) for name, value in values.items()}
                 for index, values in state_dict['state'].items()}
        self.optim_wrapper.load_state_dict({**state_dict, 'state': state})

    def load_checkpoint(self, filename: str, **kwargs) -> dict:
        return super().load_checkpoint(filename, **{**kwargs, 'map_location': 'cpu'})  # may exceed one GPU's memory

    def save_checkpoint(self, filename: str, *, save_optimizer: bool = True, save_param_scheduler: bool = True,
                        extra_ckpt: dict | None = None, callback: Callable | None = None) -> None:
        """Gathers the state from all processes and writes it in the first process."""
        checkpoint = {**(extra_ckpt or {}), 'state_dict': self.model_state_dict()}
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_state_dict()
        if not is_main_process():
            return
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            checkpoint['param_schedulers'] = self.scheduler_state_dict()
        checkpoint['meta'] = dict(checkpoint.get('meta', {}), seed=self.seed, mmengine_version=mmengine.__version__,
                                  time=time.strftime('%Y%m%d_%H%M%S'))
        if callback is not None:
            callback(checkpoint)
        save_checkpoint(checkpoint, filename, backend_args=None if '://' in filename else dict(backend='atomic'))


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yields the modules in module lists that have a ``forward``; does not descend into these modules."""
    for child in module.children():
        if type(child).forward is nn.Module.forward:  # a list, or a stage whose parts the network calls directly
            yield from blocks(child)
        elif isinstance(module, nn.ModuleList):
            yield child


def full_state(state):
    """Gathers a state on the CPU of the first process; all processes must call this function."""
    def gather(tensor: Tensor) -> Tensor | None:
        if isinstance(tensor, DTensor):
            tensor = tensor.full_tensor()
            return tensor.cpu() if is_main_process() else None
        return tensor.cpu()

    return tree_map_only(Tensor, gather, state)


def shard_of(value, parameter: nn.Parameter):
    """Returns this process's shard of a tensor, sharded like ``parameter``; returns other values unchanged."""
    if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
        value = value.to(parameter.device)
        return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return value


def _shard_weights(module: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    # After the hooks of the layers that resize whole tables, which PyTorch's set_model_state_dict would shard before.
    for name, parameter in module.named_parameters(recurse=False):
        if prefix + name in state_dict:
            state_dict[prefix + name] = shard_of(state_dict[prefix + name], parameter)
