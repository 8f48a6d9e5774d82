"""MMEngine's runners as trainings and tests use them."""
from typing import TYPE_CHECKING, Any

from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS, RUNNERS, STRATEGIES, Registry
from mmengine.runner import Runner
from torch import nn

from mmvit_backbones.engine import CompileHook, InterruptHook
from mmvit_backbones.utils.openmmlab_models import unwrap_model

from ..configs.files import LOADERS
from ..configs.settings import named, typed
from .checkpoints import check_start, others_named, use_tested

Base = Runner if TYPE_CHECKING else object


def naming(method: str, setting: str) -> Any:
    """Returns a method that names a setting in the errors of MMEngine's method."""
    def build(self: Any, *args: Any, **options: Any) -> Any:
        with named(setting):
            return getattr(super(NamedBuilders, self), method)(*args, **options)

    return build


class NamedBuilders:
    """Lets errors of a part that a runner or its strategy cannot build name the part's setting."""

    build_model = naming('build_model', 'model')
    build_optim_wrapper = naming('build_optim_wrapper', 'optim_wrapper')
    build_param_scheduler = naming('build_param_scheduler', 'param_scheduler')
    build_evaluator = naming('build_evaluator', 'evaluator')
    build_train_loop = naming('build_train_loop', 'train_cfg')
    build_val_loop = naming('build_val_loop', 'val_cfg')
    build_test_loop = naming('build_test_loop', 'test_cfg')
    build_visualizer = naming('build_visualizer', 'visualizer')
    build_log_processor = naming('build_log_processor', 'log_processor')


class OwnRunner(NamedBuilders, Base):
    """Additions of runs to MMEngine's ``Runner`` and ``FlexibleRunner``.

    Processes on CPUs are connected; batch norms use the statistics of their own process, because synchronized ones run
    on GPUs only. However a training ends, the handlers of signals and the limits of
    compilers are those of before. A checkpoint is checked when
    MMEngine has read it (:attr:`source`).
    """

    is_training = False
    source = ''

    def build_dataloader(  # pyright: ignore[reportIncompatibleMethodOverride]  # a static method of MMEngine's
            self, dataloader: Any, *args: Any, **options: Any) -> Any:
        name = next((name for name in LOADERS if getattr(self, f'_{name}', None) is dataloader), 'data loader')
        with named(name):
            return super().build_dataloader(dataloader, *args, **options)

    def build_strategy(self, strategy: Any = None, *args: Any, **options: Any) -> Any:
        by_default = 'SingleDeviceStrategy' if options.get('launcher') == 'none' else 'DDPStrategy'  # as MMEngine
        strategy = strategy or dict(type=by_default)
        if isinstance(strategy, dict):
            strategy = {**strategy, 'type': derived(NamedBuilders, STRATEGIES, strategy['type'])}
        with named('strategy'):
            return super().build_strategy(strategy, *args, **options)  # pyright: ignore[reportAttributeAccessIssue]

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        known = [each for place in ('default_hooks', 'custom_hooks') for each in typed(place, self.cfg.get(place))]
        with named(next((name for name, settings in known if settings == hook), f'hook {hook}')):
            super().register_hook(hook, priority)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if not self.distributed or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        wrapper = model_wrapper_cfg or dict(
            broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False))
        return MODEL_WRAPPERS.build({'type': 'MMDistributedDataParallel', **wrapper, 'device_ids': None,
                                     'module': revert_sync_batchnorm(model)})

    def resume(self, filename: str, *args: Any, **options: Any) -> None:
        self.source = filename
        with others_named(filename):
            super().resume(filename, *args, **options)

    def load_checkpoint(self, filename: str, *args: Any, **options: Any) -> Any:
        self.source = filename
        return super().load_checkpoint(filename, *args, **options)

    def call_hook(self, fn_name: str, **arguments: Any) -> None:
        if fn_name == 'after_load_checkpoint' and 'state_dict' in arguments['checkpoint']:
            checkpoint = arguments['checkpoint']
            if self.is_training:
                check_start(unwrap_model(self.model), checkpoint, self.source, bool(self._resume))
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
    return derived(OwnRunner, RUNNERS, name)


def derived(first: type, registry: Registry, kind: Any) -> Any:
    """Returns a registered class, or one that is given itself, with the methods of another class before its own."""
    base: Any = registry.get(kind) if isinstance(kind, str) else kind
    return type(base.__name__, (first, base), {})
