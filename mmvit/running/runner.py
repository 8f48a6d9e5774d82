"""Trains and tests finished configs with MMEngine's runner."""
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner
from mmengine.visualization import Visualizer

from mmvit_backbones.engine import LabelRangeHook, OwnFilesHook
from mmvit_backbones.errors import TrainingError, UsageError
from mmvit_backbones.utils.file_access import full_disk_named
from mmvit_backbones.zoo.loading import safe_loading

from .. import frameworks
from ..configs.outputs import check_copy, check_test_outputs
from ..frameworks.building import use_framework
from ..utils.distributed import is_first_process
from ..utils.faults import named, quiet
from ..utils.shell import short_path
from ..utils.tables import show_metrics
from .checkpoints import warn_of_others
from .prepare import check_processes
from .pytorch_errors import pytorch_errors_named
from .ranks import count_processes, init_processes
from .run_folder import RunFolder
from .runners import CheckedRunner, Testing, runner_type
from .terminal import shown_briefly
from .unread_images import unread_image_named
from .work_dir import lock_work_dir, unused_second

AnyRunner = Runner | FlexibleRunner


def train(cfg: Config, verbose: bool = False) -> AnyRunner:
    """Trains the model of a config as MMEngine's runner does, and returns the runner.

    The run gets the config as it is. Before it starts, a work dir that is in use, a data set without a batch and a
    checkpoint of another network are refused. Checkpoints are read without running code in them. For a recipe of
    ``recipes.fine_tune``, the terminal shows in place of OpenMMLab's log how long it takes, some steps, validations,
    warnings, and the best checkpoint.

    Args:
        cfg (Config): A finished config, such as those of :func:`training_config` and ``recipes.fine_tune``, with a
            ``work_dir``.
        verbose (bool): Whether to show the log in any case. Defaults to False.

    Raises:
        UsageError: If the work dir is in use, the data are too few for a batch, or a recipe is for another number of
            processes.
        CheckpointError: If ``load_from`` cannot be read, or is for another network.
        TrainingError: If training cannot go on, e.g. on a full disk.

    Example:
        >>> from mmvit.running import train, training_config
        >>> runner = train(training_config('mask_rcnn_reswin_t', work_dir='run'))  # doctest: +SKIP
    """
    check_copy(cfg)
    check_processes(cfg, count_processes(cfg))
    with running(cfg, verbose, 'train', 'val') as runner:
        warn_of_others(runner, cfg)
        runner.train()
    if runner.mistakes and runner.mistakes.lines:
        print(*runner.mistakes.lines, sep='\n', flush=True)
    return runner


def test(cfg: Config, verbose: bool = False) -> dict[str, float]:
    """Tests the checkpoint ``load_from`` of a config as MMEngine's runner does, and returns the metrics.

    Prints the metrics and where the log is. The terminal shows the images as in :func:`train`.

    Args:
        cfg (Config): A finished config, such as those of :func:`testing_config`, with a ``work_dir``.
        verbose (bool): Whether to show the log in any case. Defaults to False.

    Raises:
        CheckpointError: If the checkpoint cannot be read, or is for another network.
        UsageError: If the checkpoint was trained with the test's classes in another order.
        TrainingError: If a mask has a label that is no class.
    """
    check_test_outputs(cfg)
    with running(cfg, verbose, 'test') as runner:
        metrics = runner.test()
    if runner.rank == 0:
        show_metrics(metrics)
        if runner.mistakes:
            print(*runner.mistakes.lines, sep='\n')
        if drawings := frameworks.of(cfg).folder_of_drawings(cfg, runner.log_dir):
            print(f'drawings: {short_path(drawings)}')
        print(f'log and metrics: {short_path(runner.log_dir)}')
    return metrics


test.__test__ = False  # of pytest  # pyright: ignore[reportFunctionMemberAccess]


@contextmanager
def running(cfg: Config, verbose: bool, *splits: str) -> Iterator[Any]:
    """Yields the runner of a training or a test on these splits, in what surrounds it.

    From outside: a full disk is named, a training's work dir is locked, checkpoints are read without code, faults of
    the model and the data are named, and the terminal shows what a person needs.
    """
    is_training = 'train' in splits
    work_dir = cfg.work_dir if is_training else None
    with (full_disk_named(f'work dir {cfg.work_dir}', TrainingError if is_training else UsageError),
          lock_work_dir(cfg.work_dir) if is_training and is_first_process() else nullcontext(), safe_loading()):
        is_brief = not verbose and RunFolder(cfg).is_recipe
        with named(f'config {cfg.filename}'), pytorch_errors_named(work_dir=work_dir):  # of a model too large, too
            runner: Any = build_runner(cfg, is_brief, CheckedRunner if is_training else Testing)
        for hook in (OwnFilesHook, LabelRangeHook) if is_training else (LabelRangeHook, ):
            if not any(isinstance(each, hook) for each in runner.hooks):
                runner.register_hook(hook())
        with faults_named(runner, *splits), shown_briefly(runner, is_training) if is_brief else nullcontext():
            yield runner


@contextmanager
def faults_named(runner: Any, *splits: str) -> Iterator[None]:
    """Replaces exceptions for full memory, killed processes and unread images in these splits by one line."""
    def datasets() -> list:
        loops = [getattr(runner, f'{split}_loop') for split in splits]
        return [loop.dataloader.dataset for loop in loops if loop is not None]

    work_dir = runner.work_dir if 'train' in splits else None
    with pytorch_errors_named(*splits, work_dir=work_dir), unread_image_named(datasets):
        yield


def build_runner(cfg: Config, is_quiet: bool = False, kind: type[CheckedRunner] = CheckedRunner) -> AnyRunner:
    """Builds the runner of a config of a kind; no two runners that are built here write to the same logs.

    With ``is_quiet``, it is built without a word. MMEngine names the folder after the second in
    which the runner is built, and runners of one process share a visualizer, which writes the metrics, if its name is
    the same.
    """
    init_processes(cfg)
    use_framework(cfg.default_scope)
    name = (cfg.get('visualizer') or {}).get('name')
    if name and Visualizer.check_instance_created(name):
        cfg = deepcopy(cfg)
        del cfg.visualizer['name']  # MMEngine's default is the name of the log
    with quiet() if is_quiet else nullcontext(), unused_second(cfg):
        return runner_type(cfg.get('runner_type', 'Runner'), kind).from_cfg(cfg)
