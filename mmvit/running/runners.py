"""MMEngine's runners as trainings and tests use them."""
from typing import TYPE_CHECKING, Any

from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS, RUNNERS
from mmengine.runner import Runner
from torch import nn

from mmvit_backbones.engine import InterruptHook

Base = Runner if TYPE_CHECKING else object


class OwnRunner(Base):
    """What runs need beyond MMEngine's ``Runner`` and ``FlexibleRunner``.

    Processes on CPUs are connected; batch norms use the statistics of their own process, because synchronized ones run
    on GPUs only. However a training ends, the handlers of signals are those of before.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if not self.distributed or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        wrapper = model_wrapper_cfg or dict(
            broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False))
        return MODEL_WRAPPERS.build({'type': 'MMDistributedDataParallel', **wrapper, 'device_ids': None,
                                     'module': revert_sync_batchnorm(model)})

    def train(self) -> nn.Module:
        try:
            return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, InterruptHook):
                    hook.restore_handlers()


def runner_type(name: str = 'Runner') -> type[Runner]:
    """Returns a runner of MMEngine or a user's own, by its name in the registry, as an :class:`OwnRunner`."""
    base: Any = RUNNERS.get(name)
    return type(name, (OwnRunner, base), {})
