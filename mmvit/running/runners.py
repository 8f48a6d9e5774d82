"""MMEngine's runners as trainings and tests use them."""
from typing import TYPE_CHECKING, Any

from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS, RUNNERS
from mmengine.runner import Runner
from torch import nn

from mmvit_backbones.engine import CompileHook, InterruptHook
from mmvit_backbones.utils.openmmlab_models import unwrap_model

from .checkpoints import check_start, use_tested

Base = Runner if TYPE_CHECKING else object


class OwnRunner(Base):
    """Additions of runs to MMEngine's ``Runner`` and ``FlexibleRunner``.

    Processes on CPUs are connected; batch norms use the statistics of their own process, because synchronized ones run
    on GPUs only. However a training ends, the handlers of signals and the limits of compilers are those of before. A
    checkpoint is checked when MMEngine has read it (:attr:`source`).
    """

    is_training = False
    source = ''

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if not self.distributed or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        wrapper = model_wrapper_cfg or dict(
            broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False))
        return MODEL_WRAPPERS.build({'type': 'MMDistributedDataParallel', **wrapper, 'device_ids': None,
                                     'module': revert_sync_batchnorm(model)})

    def resume(self, filename: str, *args: Any, **options: Any) -> None:
        self.source = filename
        super().resume(filename, *args, **options)

    def load_checkpoint(self, filename: str, *args: Any, **options: Any) -> Any:
        self.source = filename
        return super().load_checkpoint(filename, *args, **options)

    def call_hook(self, fn_name: str, **arguments: Any) -> None:
        if fn_name == 'after_load_checkpoint' and 'state_dict' in arguments['checkpoint']:
            checkpoint = arguments['checkpoint']
            if self.is_training:
                check_start(unwrap_model(self.model), checkpoint, self.source, bool(self._resume),
                            self.train_dataloader.dataset)
            else:
                use_tested(unwrap_model(self.model), self.test_dataloader.dataset, checkpoint, self.source)
        super().call_hook(fn_name, **arguments)

    def train(self) -> nn.Module:
        self.is_training = True
        try:
            return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, (CompileHook, InterruptHook)):
                    hook.restore()


def runner_type(name: str = 'Runner') -> type[Runner]:
    """Returns a runner of MMEngine or a user's own, by its name in the registry, as an :class:`OwnRunner`."""
    base: Any = RUNNERS.get(name)
    return type(base.__name__, (OwnRunner, base), {})
