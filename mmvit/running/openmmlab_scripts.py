"""Does to configs what the scripts of their frameworks do by their options."""
import os.path as osp
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name
from mmvit_backbones.zoo.reading import find_checkpoint

from .. import frameworks
from ..configs.files import check_parts, merge_options, read_config
from ..configs.machine import settle_here
from ..configs.precisions import PRECISIONS
from ..configs.settings import TRACKERS
from ..frameworks.tasks import TASKS
from ..naming import resolve
from ..utils.config_parts import LOADERS, SPLITS, find, metrics_of
from .changes import check_changes
from .run_folder import RunFolder, open_resumed, resumed_checkpoint
from .work_dir import TEST

TRAINING = 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper'
TESTING = 'model', 'test_dataloader', 'test_cfg', 'test_evaluator'


def training_config(config: str | Config | RunFolder, *, work_dir: str | None = None, resume: str | bool = False,
                    precision: str | None = None, cfg_options: Mapping[str, Any] | None = None,
                    launcher: str = 'none', given: Mapping[str, Any] = MappingProxyType({}), **shorthands) -> Config:
    """Returns the config that ``tools/train.py`` of the config's framework hands to the runner.

    Args:
        config (str | Config | RunFolder): Config file, or the name of a config of this package, or what was read of it;
            or with ``resume`` the work dir of a training, whose config is inside its checkpoint.
        work_dir (str | None): Folder for checkpoints and logs. Defaults to None: that of the run, or the config's, or
            else ``work_dirs/NAME``.
        resume (str | bool): True or 'auto' resumes from the last checkpoint in the work dir, and starts a new run if
            there is none; a path resumes from this checkpoint. Defaults to False.
        precision (str | None): Mixed precision in 'float16', or as in OpenMMLab's scripts the ``dtype`` of the config's
            ``optim_wrapper``; in 'bfloat16'; or 'float32'. Defaults to None: the config's, or that of this machine
            where the config's list ``of_machine`` has it.
        cfg_options (Mapping | None): Settings that replace the config's, such as ``{'train_cfg.max_epochs': 1}``.
        launcher (str): Launcher that started the processes: 'none', 'pytorch', 'slurm' or 'mpi'.
        given (Mapping): Arguments of :func:`fine_tune` that were given to go on with a training. Defaults to none.
        **shorthands: Arguments of :func:`shorthand_options`, which add to ``cfg_options``.

    Raises:
        UsageError: If the config cannot be read, lacks a key, or an option does not fit it.
    """
    run = config if isinstance(config, RunFolder) else open_training(config, work_dir, resume)
    cfg = read_config(run.config, TRAINING)
    settle_here(cfg, 'float32' if precision == 'float32' else None)
    precise = bfloat16_options(cfg) if precision == 'bfloat16' else {}
    cfg_options = {**shorthand_options(cfg, **shorthands), **precise, **(cfg_options or {})}
    framework = frameworks.of(cfg)
    if not framework.APPLIES_OPTIONS_LAST:
        merge_options(cfg, cfg_options)
    cfg.launcher, cfg.work_dir = launcher, work_dir or work_dir_of(cfg)
    if precision == 'float16':
        framework.use_float16(cfg.optim_wrapper)
    if resume:
        checkpoint = resumed_checkpoint(cfg.work_dir, resume)
        cfg.resume = checkpoint is not None
        cfg.load_from = checkpoint if cfg.resume else cfg.get('load_from')
    if framework.APPLIES_OPTIONS_LAST:
        merge_options(cfg, cfg_options)
    framework.set_loaders(cfg, LOADERS, persistent_workers=True)
    check_parts(cfg, TRAINING)
    if cfg.get('resume') and cfg.get('load_from'):
        check_changes(cfg, run.checkpoint if run.file == cfg.load_from else None, given)
    return cfg


def open_training(config: str | Config, work_dir: str | None = None, resume: str | bool = False) -> RunFolder:
    """Returns the run of a config, or with ``resume`` that of a work dir, to go on with it.

    Args:
        config (str | Config): File or name of a config, or what was read of it; or the work dir.
        work_dir (str | None): The work dir that was named, too. Defaults to None.
        resume (str | bool): Whether the training is to go on, or from which checkpoint. Defaults to False.

    Raises:
        UsageError: If the config cannot be read, or there is nothing to go on with.
    """
    if isinstance(config, Config) or resolve(config, 'config') == 'config':
        return RunFolder.open(config)
    if not resume:
        raise UsageError(f'{config} is a folder; to go on with the training in it, pass resume=True (--resume)')
    if work_dir is not None and osp.realpath(work_dir) != osp.realpath(config):
        raise UsageError(f'work_dir (--work-dir) must be {config}, whose training goes on, got {work_dir}')
    return open_resumed(config, resume)


def bfloat16_options(cfg: Config) -> dict[str, Any]:
    """Returns the options with which a model trains in bfloat16, for which mmcv has no kernels.

    With torchvision, the same ``RoIAlign`` computes in float32.
    """
    layers = [f'model.roi_head.{name}.roi_layer' for name in ('bbox_roi_extractor', 'mask_roi_extractor')]
    return {**{f'optim_wrapper.{key}': value for key, value in PRECISIONS['bfloat16'].items()},
            **{f'{layer}.use_torchvision': True for layer in layers
               if type_name(find(cfg, layer) or {}) == 'RoIAlign'}}


def testing_config(config: str | Config, checkpoint: str, *, work_dir: str | None = None, out: str | None = None,
                   show: bool = False, show_dir: str | None = None, wait_time: float | None = None, tta: bool = False,
                   cfg_options: Mapping[str, Any] | None = None, launcher: str = 'none', **shorthands) -> Config:
    """Returns the config that ``tools/test.py`` of the config's framework hands to the runner.

    Programs that track trainings, such as TensorBoard and W&B, are left out, unless ``cfg_options`` sets them: a test
    has no curves, and may run where they are not installed.

    Args:
        config (str | Config): Work dir of a training or its checkpoint, in which is its config; or a config file, or
            the name of a config of this package, or what was read of it.
        checkpoint (str): File or URL of the weights, or the work dir of a training, for its best checkpoint.
        work_dir (str | None): Folder for logs and metrics. Defaults to None: ``test`` in the work dir of the training,
            or of the config.
        out (str | None): Where predictions are saved: a ``.pkl`` file, or for mmseg a folder of label images.
        show (bool): Whether to show the predictions in a window. Defaults to False.
        show_dir (str | None): Folder for drawings of the predictions, with the meaning of the framework's script: mmdet
            puts a relative path into the folder of the log.
        wait_time (float | None): Seconds per image with ``show``. Defaults to None: 2.
        tta (bool): Whether to use test-time augmentation: the config's ``tta_model`` and ``tta_pipeline``, or flips as
            in the framework's script. Defaults to False.
        cfg_options, launcher, **shorthands: As in :func:`training_config`.

    Raises:
        UsageError: If the config cannot be read, lacks a key, or an option does not fit it.
    """
    cfg = RunFolder.open(config, TESTING).config
    cfg_options = {**shorthand_options(cfg, **shorthands), **(cfg_options or {})}
    framework = frameworks.of(cfg)
    if not framework.APPLIES_OPTIONS_LAST:
        merge_options(cfg, cfg_options)
    cfg.launcher, cfg.work_dir = launcher, work_dir or test_dir_of(cfg)
    cfg.load_from, cfg.resume = find_checkpoint(checkpoint), False
    if wait_time is not None and not show:
        raise UsageError(f'wait_time needs show (--show), got {wait_time:g} without it')
    if show or show_dir:
        framework.draw(cfg, show, show_dir, 2. if wait_time is None else wait_time)
    if tta:
        framework.augment(cfg, cfg_options)
    if out is not None:
        framework.save_predictions(cfg, out)
    framework.set_loaders(cfg, ('test_dataloader', ))
    if framework.APPLIES_OPTIONS_LAST:
        merge_options(cfg, cfg_options)
    backends = find(cfg, 'visualizer.vis_backends')
    if backends and not any(key.startswith('visualizer.vis_backends') for key in cfg_options):
        cfg.visualizer.vis_backends = [backend for backend in backends if type_name(backend) not in TRACKERS]
    check_parts(cfg, TESTING)
    return cfg


def shorthand_options(cfg: Config, *, seed: int | None = None, data_root: str | None = None,
                      auto_scale_lr: bool = False, compile: bool = False, tensorboard: bool = False,
                      wandb: bool = False) -> dict[str, Any]:
    """Returns the ``cfg_options`` that a few short options stand for.

    Args:
        cfg (Config): Config that the options are for.
        seed (int | None): ``randomness.seed``.
        data_root (str | None): ``data_root`` of all data sets, also in the paths of evaluators.
        auto_scale_lr (bool): Whether to scale the learning rate by the batch size.
        compile (bool): Compile the backbone's blocks for training, or the whole backbone of another library
            (``CompileHook``).
        tensorboard, wandb (bool): Log to TensorBoard or Weights & Biases, too.

    Raises:
        UsageError: If a data set has its root at an unusual place.
    """
    options: dict[str, Any] = {}
    if seed is not None:
        options['randomness.seed'] = seed
    if data_root is not None:
        options |= _root_options(cfg, data_root)
    if auto_scale_lr:
        options['auto_scale_lr.enable'] = True
    hooks = cfg.get('custom_hooks') or []
    if compile and not any(type_name(hook) == 'CompileHook' for hook in hooks):
        options['custom_hooks'] = [*hooks, dict(type='CompileHook')]
    own = {task.framework: task.visualizer for task in TASKS}
    visualizer = find(cfg, 'visualizer.type') or own.get(cfg.default_scope, 'Visualizer')
    return {**options, **tracker_options(visualizer, tensorboard, wandb)}


def tracker_options(visualizer: str, tensorboard: bool = False, wandb: bool = False) -> dict[str, Any]:
    """Returns the options of a config with this visualizer that log to TensorBoard or Weights & Biases, too."""
    backends = ['TensorboardVisBackend'] * tensorboard + ['WandbVisBackend'] * wandb
    return {'visualizer.type': visualizer,
            'visualizer.vis_backends': [dict(type=name) for name in ('LocalVisBackend', *backends)]} if backends else {}


def work_dir_of(cfg: Config) -> str:
    """Returns the work dir of a config, by default ``work_dirs/NAME``."""
    return cfg.get('work_dir') or osp.join('work_dirs', osp.splitext(osp.basename(cfg.filename))[0])


def test_dir_of(cfg: Config) -> str:
    """Returns the folder ``test`` in the work dir of a config, in which no file of a training is replaced."""
    return osp.join(work_dir_of(cfg), TEST)


test_dir_of.__test__ = False  # of pytest  # pyright: ignore[reportFunctionMemberAccess]


def _root_options(cfg: Config, root: str) -> dict[str, Any]:
    """Returns the options that replace the root folder of the data sets, also in the paths of evaluators."""
    options: dict[str, Any] = {}
    for split in SPLITS:
        if not cfg.get(f'{split}_dataloader'):
            continue
        place, dataset = f'{split}_dataloader.dataset', cfg[f'{split}_dataloader'].dataset
        while 'data_root' not in dataset and isinstance(dataset.get('dataset'), dict):
            place, dataset = f'{place}.dataset', dataset.dataset
        if 'data_root' not in dataset:
            raise UsageError(f'data_root (--data-root): {place} has no data_root; set the paths of its data sets '
                             'with cfg_options (--cfg-options)')
        old = osp.join(dataset.data_root or '', '')
        options[f'{place}.data_root'] = osp.join(root, '')
        evaluator = cfg.get(f'{split}_evaluator')
        for number, metric in enumerate(metrics_of(cfg, split)):
            where = f'{split}_evaluator.{number}' if isinstance(evaluator, list) else f'{split}_evaluator'
            for key in ('ann_file', 'label_file'):
                if old and str(metric.get(key) or '').startswith(old):
                    options[f'{where}.{key}'] = osp.join(root, osp.relpath(metric[key], old))
    return options
