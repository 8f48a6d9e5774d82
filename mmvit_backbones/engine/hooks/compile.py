"""Compiles the blocks of the backbone for training."""
from contextlib import ExitStack
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ...errors import first_line
from ...ops.graphs import allow_graphs, limits_kept
from ...utils import versions
from ...utils.openmmlab_models import unwrap_model


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles each block of the backbone by ``torch.compile`` for training; neck, heads and validation run eagerly.

    Compiling block by block takes less time than a whole network, because blocks of a kind and a stage share a graph,
    and names in checkpoints stay. Graphs of detectors and segmenters are for all image sizes, those of classifiers for
    one.

    The backbone of another library is compiled as a whole.

    Where nothing can be compiled, because a compiler or Triton is missing, for example, training runs eagerly after a
    warning.

    Eager blocks and PyTorch's limit of graphs are restored when training ends. MMEngine calls no hook after an
    exception, so a program that goes on after one must call :meth:`restore`, as ``mmvit.train`` does.

    Args:
        backend (str): Backend of ``torch.compile``. Defaults to ``'inductor'``.

    Example:
        >>> custom_hooks = [dict(type='CompileHook')]
    """

    def __init__(self, backend: Any = 'inductor') -> None:
        self.backend, self.is_compiled = backend, False
        # More graphs than PyTorch's limit, and compiled blocks; blocks that run eagerly in a validation.
        self.training, self.evaluation = ExitStack(), ExitStack()

    def before_train(self, runner: Runner) -> None:
        model: Any = unwrap_model(runner.model)
        if reason := why_not_compiled(next(model.parameters()).device, self.backend):
            runner.logger.warning(f'nothing is compiled, because {reason}; training runs eagerly')
            return
        self.training.enter_context(limits_kept())
        self.is_compiled = True
        compile_backbone(model.backbone, not is_classifier(model), self.backend)
        self.training.callback(run_eagerly, model)

    def before_val(self, runner: Runner) -> None:
        if self.is_compiled:
            self.evaluation.enter_context(torch.compiler.set_stance('force_eager'))  # whose graphs would be others

    def after_val(self, runner: Runner) -> None:
        self.evaluation.close()

    before_test, after_test = before_val, after_val

    def after_train(self, runner: Runner) -> None:
        self.restore()

    def restore(self) -> None:
        """Lets the backbone run eagerly, and gives PyTorch its limit of before, if this was not done."""
        self.evaluation.close()
        self.training.close()


def compile_backbone(backbone: Any, dynamic: bool, backend: Any = 'inductor') -> None:
    """Compiles the blocks of a backbone of this package, or one of another library as a whole, for training.

    ``dynamic`` is whether graphs are for images of all sizes, as of all models but classifiers.
    """
    allow_graphs()
    getattr(backbone, 'compile_blocks', backbone.compile)(dynamic=dynamic, backend=backend)


def run_eagerly(model: Any) -> None:
    """Undoes :func:`compile_backbone`."""
    if hasattr(model.backbone, 'run_blocks_eagerly'):
        model.backbone.run_blocks_eagerly()
    else:
        model.backbone._compiled_call_impl = None


def is_classifier(model: nn.Module) -> bool:
    """Returns whether a model is one of mmpretrain's classifiers, which train on images of one size."""
    return any(base.__name__ == 'BaseClassifier' for base in type(model).__mro__)


def why_not_compiled(device: torch.device, backend: Any) -> str | None:
    """Compiles and runs a function and its backward pass on a device; returns why this fails, or None if it works."""
    if reason := versions.why_not('compiling blocks'):
        return reason
    try:
        x = torch.ones(16, device=device, requires_grad=True)
        with torch.compiler.set_stance('default'):
            torch.compile(lambda x: (x.sin() * x).sum(), backend=backend)(x).backward()
    except Exception as error:  # compilers raise any exception
        return first_line(getattr(error, 'inner_exception', error))  # of what torch.compile raises itself
    return None
