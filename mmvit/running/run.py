"""Trains and tests finished configs with MMEngine's runner."""
import os.path as osp
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, RUNNERS
from mmengine.runner import FlexibleRunner, Runner, find_latest_checkpoint
from mmengine.visualization import Visualizer
from torch import nn

from mmvit_backbones.engine import OwnFilesHook
from mmvit_backbones.errors import TrainingError, UsageError
from mmvit_backbones.utils.files import full_disk_named, short_path
from mmvit_backbones.utils.fonts import families_for
from mmvit_backbones.zoo.checks import is_readable
from mmvit_backbones.zoo.loading import (
    check_finite,
    check_overlap,
    find_weights,
    load_weights,
    read_checkpoint,
    read_state,
    unwrap_model,
    use_safe_loading,
)

from ..utils.distributed import is_first_process
from ..utils.frameworks import import_quietly, quiet
from .classes import check_tested, classes_of
from .console import Screen, screen, show_metrics
from .processes import init_processes
from .resume import point_to_own, read_to_resume
from .unreadable import named_images
from .work_dir import lock_file, lock_work_dir

AnyRunner = Runner | FlexibleRunner


def train(cfg: Config, verbose: bool = False) -> AnyRunner:
    """Trains the model of a config as MMEngine's runner does, and returns the runner.

    The run gets the config as it is. Before it starts, a work dir that is in use, a data set without a batch and a
    checkpoint of another network are refused. Checkpoints are read without running code in them. The terminal shows a
    bar, validations and warnings; the log file has every line.

    Args:
        cfg (Config): A finished config, such as those of :func:`training_config` and ``recipes.fine_tune``, with a
            ``work_dir``.
        verbose (bool): Whether the console shows every line of the log file. Defaults to False.

    Raises:
        UsageError: If the work dir is in use, or the data are too few for a batch.
        CheckpointError: If ``load_from`` cannot be read, or is for another network.
        TrainingError: If training cannot go on, e.g. on a full disk.

    Example:
        >>> from mmvit.running import train, training_config
        >>> runner = train(training_config('mask_rcnn_reswin_t', work_dir='run'))  # doctest: +SKIP
    """
    lock = lock_work_dir(cfg.work_dir) if is_first_process() else nullcontext()
    full_disk = full_disk_named(f'work dir {cfg.work_dir}', TrainingError)
    with full_disk, lock, screen('train', verbose) as shown:
        if is_first_process():
            point_to_own(cfg.work_dir)
        runner = build_runner(cfg, shown)
        if not any(isinstance(hook, OwnFilesHook) for hook in runner.hooks):
            runner.register_hook(OwnFilesHook())
        check_batches(runner)
        check_start(runner, cfg)
        warn_of_others(runner, cfg)
        with named_images(runner, 'train', 'val'):
            runner.train()
    return runner


def test(cfg: Config, verbose: bool = False) -> dict[str, float]:
    """Tests the checkpoint ``load_from`` of a config as MMEngine's runner does, and returns the metrics.

    The terminal shows a bar, warnings and a table of the metrics; the log file has every line.

    Args:
        cfg (Config): A finished config, such as those of :func:`testing_config`, with a ``work_dir``.
        verbose (bool): Whether the console shows every line of the log file. Defaults to False.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or is for another network.
        UsageError: If the checkpoint was trained with the test's classes in another order.
    """
    from matplotlib import rc_context
    with full_disk_named(f'work dir {cfg.work_dir}'), screen('test', verbose) as shown:
        runner = build_runner(cfg, shown)
        if is_readable(cfg.load_from):
            checkpoint = read_checkpoint(cfg.load_from, mmap=True)
            check_tested(runner.test_dataloader.dataset, checkpoint, cfg.load_from)
            weights, _ = find_weights(model_of(runner), checkpoint, cfg.load_from)
            load_weights(model_of(runner), weights, cfg.load_from)
        names = classes_of(runner.test_dataloader.dataset.metainfo) if drawings_of(cfg, runner) else ()
        fonts = families_for(names)  # of mmdet's and mmpretrain's drawings
        with named_images(runner, 'test'), rc_context({'font.sans-serif': fonts, 'font.monospace': fonts}):
            metrics = runner.test()
    if shown is not None and runner.rank == 0:
        show_metrics(metrics, shown.tables)
        print(*drawings_of(cfg, runner), f'log and metrics: {short_path(runner.log_dir)}', sep='\n')
    return metrics


def best_of(runner: AnyRunner) -> list[str]:
    """Returns a line for each metric by which a training selects checkpoints: its best value and the file."""
    info, lines = runner.message_hub.runtime_info, []
    for hook in runner.hooks:
        names = getattr(hook, 'key_indicators', None) or () if isinstance(hook, CheckpointHook) else ()
        for name in names:
            suffix = f'_{name}' if len(names) > 1 else ''
            if osp.isfile(str(info.get(f'best_ckpt{suffix}'))):
                lines.append(f'best: {name} {info[f"best_score{suffix}"]:.4g}, '
                             f'{short_path(str(info[f"best_ckpt{suffix}"]))}')
    return lines


def drawings_of(cfg: Config, runner: AnyRunner) -> list[str]:
    """Returns a line with the folder of a test's drawings, if the config asks for drawings."""
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    if hook.get('test_out_dir'):  # of mmdet
        folder = osp.join(runner.work_dir, runner.timestamp, hook['test_out_dir'])
    elif hook.get('enable') and hook.get('out_dir'):  # of mmpretrain
        folder = hook['out_dir']
    elif hook.get('draw') and (cfg.get('visualizer') or {}).get('save_dir'):  # of mmseg
        folder = osp.join(cfg.visualizer.save_dir, 'vis_data', 'vis_image')
    else:
        return []
    return [f'drawings: {short_path(folder)}']


def build_runner(cfg: Config, shown: Screen | None = None) -> AnyRunner:
    """Builds the runner of a config; no two runners that are built here write to the same logs.

    ``shown`` is the terminal, or None to show every line of the log. MMEngine names the folder after the second in
    which the runner is built, and runners of one process share a visualizer, which writes the metrics, if its name is
    the same.
    """
    init_processes(cfg)
    use_safe_loading()
    import_quietly(cfg.default_scope)
    if cfg.get('strategy'):
        import_module('mmvit_backbones.engine.strategies.sharded')  # registers ShardedStrategy, which needs PyTorch 2.7
    name = (cfg.get('visualizer') or {}).get('name')
    if name and Visualizer.check_instance_created(name):
        cfg = deepcopy(cfg)
        del cfg.visualizer['name']  # MMEngine's default is the name of the log
    build: Any = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    with nullcontext() if shown is None else quiet(), unused_second(cfg):
        runner = build(cfg)
    if shown is not None:
        shown.attach(runner.logger, runner)
    if isinstance(runner.model, nn.Module) and runner.distributed and not torch.cuda.is_available():
        revert_sync_batchnorm(runner.model)  # SyncBN has no CPU kernel, so each process uses its own statistics
    return runner


@contextmanager
def unused_second(cfg: Config) -> Iterator[None]:
    """Waits until no log of this second is in the work dir or in this process, and keeps other processes waiting."""
    if not is_first_process():
        yield
        return
    name = cfg.get('experiment_name') or osp.splitext(osp.basename(cfg.filename or ''))[0]
    with lock_file(osp.join(cfg.work_dir, '.start'), wait=True):
        while True:
            now = time.strftime('%Y%m%d_%H%M%S')
            logger = f'{name}_{now}' if name else now
            if not osp.exists(osp.join(cfg.work_dir, now)) and not MMLogger.check_instance_created(logger):
                break
            time.sleep(0.05)
        yield


def model_of(runner: AnyRunner) -> nn.Module:
    """Returns the model of a runner without wrappers; ``FlexibleRunner`` builds its own later, so this is another."""
    model: Any = runner.model
    return unwrap_model(model) if isinstance(model, nn.Module) else MODELS.build(model)


def check_start(runner: AnyRunner, cfg: Config) -> None:
    """Raises CheckpointError if a run cannot resume, or start from ``load_from``, because of the checkpoint."""
    path = cfg.get('load_from') or (find_latest_checkpoint(cfg.work_dir) if cfg.get('resume') else None)
    if not path or not is_readable(path):
        return
    if cfg.get('resume'):
        folder = None if cfg.get('load_from') else cfg.work_dir
        load_weights(model_of(runner), read_to_resume(path, folder)['state_dict'], path, strict=True)
    else:
        weights = read_state(path)['state_dict']
        check_overlap(model_of(runner), weights, path)  # as MMEngine will load them
        check_finite(weights, path)


def warn_of_others(runner: AnyRunner, cfg: Config) -> None:
    """Warns of checkpoints of another training in the work dir of a new one."""
    others = sorted(path.name for path in Path(cfg.work_dir).glob('*.pth'))
    if others and not cfg.get('resume'):
        runner.logger.warning(f'work dir {cfg.work_dir} has checkpoints of another training, such as {others[0]}; '
                              'those of the same names will be replaced. To go on with that training, use --resume; to '
                              'keep it, another --work-dir')


def check_batches(runner: AnyRunner) -> None:
    """Raises UsageError if an epoch has no batch; MMEngine's schedulers would fail."""
    loader: Any = runner.train_dataloader
    if not len(loader.dataset):
        raise UsageError(f'the training data set {type(loader.dataset).__name__} is empty; filter_cfg may have removed '
                         'all images')
    if not len(loader):
        images, batch_size = len(loader.dataset) // get_world_size(), loader.batch_sampler.batch_size
        raise UsageError(f'train_dataloader.batch_size must be at most {images}, the number of training images per '
                         f'process, because this config drops incomplete batches; got {batch_size}')
