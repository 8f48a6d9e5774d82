"""Compiles a network block by block, which PyTorch calls regional compilation."""
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModule
from torch import nn

from ..layers import BaseBlock, DropPath
from ..ops.graphs import allow_graphs


class CompiledByBlocks(BaseModule):
    """Base class of networks that declare the types of their blocks."""

    block_types: ClassVar[tuple[type[nn.Module], ...]] = (BaseBlock, )

    def named_blocks(self) -> dict[str, nn.Module]:
        """Returns the blocks by name, which are of ``block_types``."""
        return {name: module for name, module in self.named_modules() if isinstance(module, self.block_types)}

    def compile_blocks(self, dynamic: bool, backend: Any = 'inductor') -> None:
        """Compiles each block by itself, in place, so that names in checkpoints stay; the rest of the network is eager.

        Graphs depend on the kinds of blocks and on their stages, not on their number or rates of stochastic depth.
        Training and evaluation have their own, so PyTorch's limit of 8 is raised to 256.
        On CPUs, inductor keeps the layout of the maps, whose channels are the last dimension: its own choice would save
        copies in another layout, which takes longer to compile and to run.

        Args:
            dynamic (bool): Whether graphs are for images of all sizes, else each size has its own.
            backend (str | Callable): Backend of ``torch.compile``.
        """
        allow_graphs()
        device = next(self.parameters()).device
        for module in self.modules():
            if isinstance(module, DropPath):
                module.compiled_prob = torch.tensor(module.drop_prob, device=device)
        options = {'layout_optimization': False} if backend == 'inductor' and device.type == 'cpu' else None
        for block in self.named_blocks().values():
            block.compile(dynamic=dynamic, backend=backend, options=options)

    def run_blocks_eagerly(self) -> None:
        """Undoes :meth:`compile_blocks`."""
        for module in self.modules():
            module._compiled_call_impl = None
            if isinstance(module, DropPath):
                module.compiled_prob = None
