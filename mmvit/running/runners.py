"""MMEngine's runners as trainings and tests use them."""
import os.path as osp
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from math import inf
from typing import TYPE_CHECKING, Any

from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.registry import MODEL_WRAPPERS, OPTIMIZERS, RUNNERS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.engine import CompileHook, InterruptHook
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.utils.messages import near_names
from mmvit_backbones.utils.openmmlab_models import unwrap_model
from mmvit_backbones.zoo.fitting import check_finite
from mmvit_backbones.zoo.reading import recorded_best

from ..configs.saved import without_start
from ..configs.settings import check_schedule
from ..predictions.mistakes import Mistakes, add_mistakes
from ..utils.config_parts import find
from ..utils.faults import named
from .checkpoints import check_start, use_tested
from .pytorch_errors import pytorch_errors_named
from .run_folder import RunFolder
from .work_dir import folder_of_mistakes

Base = Runner if TYPE_CHECKING else object
# Optimizers that MMEngine has if a package is installed.
OPTIMIZER_PACKAGES = {'Lion': 'lion-pytorch', 'Adafactor': 'transformers', 'AdamW8bit': 'bitsandbytes',
                      **{f'DAdapt{name}': 'dadaptation' for name in ('AdaGrad', 'Adam', 'SGD')}}
# Methods with which MMEngine builds the parts of a run -> the settings that their errors name.
PARTS = dict(
    set_randomness='randomness', build_log_processor='log_processor', build_visualizer='visualizer',
    build_strategy='strategy', build_model='model', wrap_model='model_wrapper_cfg',
    register_default_hooks='default_hooks', register_custom_hooks='custom_hooks', build_optim_wrapper='optim_wrapper',
    scale_lr='auto_scale_lr', build_param_scheduler='param_scheduler', _init_model_weights='model.init_cfg',
    **{f'build_{split}_loop': f'{split}_dataloader, {split}_evaluator or {split}_cfg' for split in ('val', 'test')},
    build_train_loop='train_dataloader or train_cfg')


class CheckedRunner(Base):
    """Additions of runs to MMEngine's ``Runner`` and ``FlexibleRunner``.

    What does not fit is named when MMEngine builds it, before the first step. Processes on CPUs are connected; batch
    norms use the statistics of their own process, because synchronized ones run on GPUs only. However a training ends,
    the handlers of signals and the limits of compilers are those of before. A checkpoint is checked when MMEngine has
    read it.
    """

    is_training = False
    mistakes: Mistakes | None = None
    best: Mapping[str, str] = {}  # checkpoints before a validation
    processes = 1  # among which the batches of the train loader are still to be divided

    def build_model(self, model: Any) -> nn.Module:
        # Whether a training goes on, and from what, MMEngine keeps to itself.
        if self.cfg.get('resume') and self.cfg.get('load_from') and isinstance(model, dict):
            model = ConfigDict(without_start(model))
        built = super().build_model(model)
        check_channels(built)
        check_class_weights(built)
        return built

    def build_train_loop(self, loop: Any) -> Any:
        loop = super().build_train_loop(loop)
        check_batches(loop.dataloader, self.world_size)
        return loop

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        name = find(self.cfg, 'optim_wrapper.optimizer.type')
        if isinstance(name, str) and OPTIMIZERS.get(name) is None:
            remedy = (f'; it needs {install_command(OPTIMIZER_PACKAGES[name])}' if name in OPTIMIZER_PACKAGES
                      else near_names(name, OPTIMIZERS.module_dict))
            raise UsageError(f'optim_wrapper.optimizer.type: MMEngine has no optimizer {name}{remedy}')
        return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        built = super().build_param_scheduler(scheduler)
        if isinstance(built, list):
            is_divided = isinstance(self.train_loop, EpochBasedTrainLoop)
            check_schedule(built, self.max_epochs, self.max_iters / (self.processes if is_divided else 1))
        return built

    def build_val_loop(self, loop: Any) -> Any:
        loop = super().build_val_loop(loop)
        check_prefixes(self, getattr(loop, 'evaluator', None))
        return loop

    def build_evaluator(self, evaluator: Any) -> Any:
        built = super().build_evaluator(evaluator)
        self.mistakes = add_mistakes(self.cfg, built)
        return built

    def write_mistakes(self) -> None:
        """Writes the mistakes of a test, and of a validation if it is the best so far."""
        best = recorded_best(self.message_hub.runtime_info)
        if self.mistakes and self.rank == 0 and not (self.is_training and best and best == self.best):
            source = f'epoch {self.epoch}' if self.is_training else osp.basename(str(self._load_from))
            self.mistakes.write(self.work_dir if self.is_training else folder_of_mistakes(self.work_dir), source)

    def _init_model_weights(self) -> None:
        try:
            super()._init_model_weights()
            check_finite(self.model.state_dict(), 'of model.init_cfg')
        except CheckpointError as error:
            remedy = ('pass another file as pretrained (--pretrained), or pretrained=False (--no-pretrained) for '
                      'random weights'
                      if RunFolder(self.cfg).is_recipe else
                      'see docs/zoo.md for available weights, or set model.backbone.init_cfg=None for random weights')
            raise UsageError(f'pretrained weights: {error}; {remedy}') from error

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if not self.distributed or get_device() != 'cpu':
            return super().wrap_model(model_wrapper_cfg, model)
        wrapper = model_wrapper_cfg or dict(
            broadcast_buffers=False, find_unused_parameters=self.cfg.get('find_unused_parameters', False))
        return MODEL_WRAPPERS.build({'type': 'MMDistributedDataParallel', **wrapper, 'device_ids': None,
                                     'module': revert_sync_batchnorm(model)})

    def call_hook(self, fn_name: str, **arguments: Any) -> None:
        if fn_name == 'after_load_checkpoint' and 'state_dict' in arguments['checkpoint']:
            self.check_checkpoint(arguments['checkpoint'], str(self._load_from or self.work_dir))
        super().call_hook(fn_name, **arguments)
        if fn_name == 'before_val_epoch':
            self.best = recorded_best(self.message_hub.runtime_info)
        if fn_name in ('after_val_epoch', 'after_test_epoch'):
            self.write_mistakes()

    def check_checkpoint(self, checkpoint: dict, source: str) -> None:
        """Raises an error if a run cannot start from a checkpoint, resume from it or test it."""
        model = unwrap_model(self.model)
        if self.is_training:
            check_start(model, checkpoint, source, bool(self._resume))
        else:
            use_tested(model, self.test_dataloader.dataset, checkpoint, source)

    def train(self) -> nn.Module:
        self.is_training = True
        try:
            return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, (CompileHook, InterruptHook)):
                    hook.restore()


class Testing(CheckedRunner):
    """A test, which leaves the config that MMEngine saved for a training in the same work dir."""

    def dump_config(self) -> None:
        self.cfg.dump(osp.join(self.log_dir, osp.basename(self.cfg.filename or 'config.py')))


def runner_type(name: str = 'Runner', kind: type[CheckedRunner] = CheckedRunner) -> type[CheckedRunner]:
    """Returns a runner of MMEngine or a user's own, by its name in the registry, as a :class:`CheckedRunner`."""
    base: Any = RUNNERS.get(name)
    run: Any = type(base.__name__, (kind, base), {})
    named_methods = {method: naming(getattr(run, method), setting) for method, setting in PARTS.items()
                     if hasattr(base, method)}
    return type(base.__name__, (run, ), named_methods)


def naming(method: Callable, setting: str) -> Callable:
    """Returns a method that builds a part of a run, with errors that name the setting of the part."""
    @wraps(method)
    def build(*arguments: Any, **options: Any) -> Any:
        with named(setting), pytorch_errors_named():
            return method(*arguments, **options)

    return build


def check_batches(loader: Any, processes: int) -> None:
    """Raises UsageError if an epoch has no batch; MMEngine's schedulers would fail."""
    if not len(loader.dataset):
        raise UsageError(f'the training data set {type(loader.dataset).__name__} is empty; filter_cfg may have removed '
                         'all images')
    if not len(loader):
        images, batch_size = len(loader.dataset) // processes, loader.batch_sampler.batch_size
        raise UsageError(f'train_dataloader.batch_size must be at most {images}, the number of training images per '
                         f'process, because this config drops incomplete batches; got {batch_size}')


def check_channels(model: nn.Module) -> None:
    """Raises UsageError if images are normalized with another number of channels than the backbone takes."""
    backbone, mean = getattr(model, 'backbone', None), getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    if isinstance(backbone, Backbone) and isinstance(mean, Tensor) and mean.numel() not in (1, backbone.in_channels):
        raise UsageError(f'model.backbone.in_channels is {backbone.in_channels}, but data_preprocessor.mean has '
                         f'{mean.numel()} values')


def check_class_weights(model: nn.Module) -> None:
    """Raises UsageError if weights of the classes are not one for each that a segmenter has, or its loss fails."""
    for name, head in model.named_modules():
        losses = getattr(head, 'loss_decode', None)
        for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
            weights = getattr(loss, 'class_weight', None)
            if weights is None or loss is None:
                continue
            if len(weights) != head.out_channels or not all(0 <= weight < inf for weight in weights):
                raise UsageError(f'model.{name}.loss_decode: class_weight must be {head.out_channels} numbers from 0, '
                                 f'one for each class, got {weights}')
            if type(loss).__name__ == 'CrossEntropyLoss' and loss.avg_non_ignore and not loss.use_sigmoid:
                raise UsageError(f"model.{name}.loss_decode: mmseg's CrossEntropyLoss takes class_weight or "
                                 'avg_non_ignore=True, not both; with class_weight and avg_non_ignore=False, its mean '
                                 'is over labeled pixels, too')


def check_prefixes(runner: Runner, evaluator: Any) -> None:
    """Raises UsageError if a part waits for a metric that begins with no prefix of those of an evaluator."""
    prefixes = [metric.prefix for metric in getattr(evaluator, 'metrics', ())]
    for setting, name in waiting(runner) if prefixes and None not in prefixes else ():
        if name != 'auto' and name.partition('/')[0] not in prefixes:
            allowed = ', '.join(f'{prefix}/...' for prefix in prefixes)
            raise UsageError(f'{setting} must be auto or one of {allowed}, got {name!r}')


def waiting(runner: Runner) -> Iterator[tuple[str, str]]:
    """Yields the settings of hooks and schedulers that wait for a metric, and its name."""
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    for part in (*runner.hooks, *schedulers):
        if isinstance(part, CheckpointHook):
            yield from (('default_hooks.checkpoint.save_best', name) for name in part.save_best or ())
        elif isinstance(part, (EarlyStoppingHook, ReduceOnPlateauParamScheduler)):
            yield f'{type(part).__name__}.monitor', part.monitor
