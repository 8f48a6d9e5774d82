"""MMEngine's runners as trainings and tests use them."""
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.registry import MODEL_WRAPPERS, RUNNERS
from mmengine.runner import Runner
from torch import nn

from mmvit_backbones.engine import InterruptHook
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import unwrap_model

from ..utils.config_files import LOADERS
from .checkpoints import check_start, others_named, use_tested
from .settings import named, typed

Base = Runner if TYPE_CHECKING else object
SETTINGS = dict(
    build_model='model', build_optim_wrapper='optim_wrapper', build_param_scheduler='param_scheduler',
    build_evaluator='evaluator', build_train_loop='train_cfg', build_val_loop='val_cfg', build_test_loop='test_cfg',
    build_visualizer='visualizer', build_log_processor='log_processor', build_strategy='strategy')


class OwnRunner(Base):
    """What runs need beyond MMEngine's ``Runner`` and ``FlexibleRunner``.

    An error of a part that cannot be built names its setting (:data:`SETTINGS`). Processes on CPUs are connected; batch
    norms use the statistics of their own process, because synchronized ones run on GPUs only. A metric that chooses the
    best checkpoint, stops early or lowers the rate must be one of the validation's. However a training ends, the
    handlers of signals are those of before. A checkpoint is checked when MMEngine has read it (:attr:`source`).
    """

    is_training = False
    source = ''

    def build_dataloader(  # pyright: ignore[reportIncompatibleMethodOverride]  # a static method of MMEngine's
            self, dataloader: Any, *args: Any, **options: Any) -> Any:
        name = next((name for name in LOADERS if getattr(self, f'_{name}', None) is dataloader), 'data loader')
        with named(name):
            return super().build_dataloader(dataloader, *args, **options)

    def register_hook(self, hook: Any, priority: Any = None) -> None:
        known = [each for place in ('default_hooks', 'custom_hooks') for each in typed(place, self.cfg.get(place))]
        with named(next((name for name, settings in known if settings == hook), f'hook {hook}')):
            super().register_hook(hook, priority)

    def build_val_loop(self, loop: Any) -> Any:
        built: Any = super().build_val_loop(loop)
        check_prefixes(self.hooks, getattr(built, 'evaluator', None))
        return built

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
        if fn_name == 'after_val_epoch' and arguments['metrics']:  # without an object, mmdet gives none
            check_metrics(self, arguments['metrics'])
        super().call_hook(fn_name, **arguments)

    def train(self) -> nn.Module:
        self.is_training = True
        try:
            return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, InterruptHook):
                    hook.restore_handlers()


def naming(method: str, setting: str) -> Any:
    """Returns a method of :class:`OwnRunner` that names a setting in the errors of MMEngine's method."""
    def build(self: OwnRunner, *args: Any, **options: Any) -> Any:
        with named(setting):
            return getattr(super(OwnRunner, self), method)(*args, **options)

    return build


for method, setting in SETTINGS.items():
    if method not in vars(OwnRunner):
        setattr(OwnRunner, method, naming(method, setting))


def runner_type(name: str = 'Runner') -> type[Runner]:
    """Returns a runner of MMEngine or a user's own, by its name in the registry, as an :class:`OwnRunner`."""
    base: Any = RUNNERS.get(name)
    return type(name, (OwnRunner, base), {})


def check_prefixes(hooks: list, evaluator: Any) -> None:
    """Raises UsageError if a hook waits for a metric that begins with no prefix of the metrics, which are built."""
    prefixes = [metric.prefix for metric in evaluator.metrics] if type(evaluator) is Evaluator else []
    if prefixes and None not in prefixes:
        for setting, key in monitored(hooks):
            if key.partition('/')[0] not in prefixes:
                raise UsageError(f'{setting} must be auto or one of {", ".join(f"{name}/..." for name in prefixes)}, '
                                 f'got {key!r}')


def check_metrics(runner: Any, metrics: dict) -> None:
    """Raises UsageError if a hook or a scheduler waits for a metric that a validation does not have."""
    schedulers = runner.param_schedulers or []
    for setting, key in monitored([*runner.hooks, *(schedulers if isinstance(schedulers, list) else ())]):
        if key not in metrics:
            raise UsageError(f'{setting} must be auto or one of {", ".join(metrics)}, got {key!r}')


def monitored(parts: list) -> Iterator[tuple[str, str]]:
    """Yields the settings of hooks and schedulers that name a metric, and the metric."""
    for part in parts:
        if isinstance(part, CheckpointHook):
            yield from (('default_hooks.checkpoint.save_best', key) for key in part.save_best or () if key != 'auto')
        elif isinstance(part, (EarlyStoppingHook, ReduceOnPlateauParamScheduler)):
            yield f'{type(part).__name__}.monitor', part.monitor
