"""Checks the checkpoint from which a run starts, resumes or is tested, once MMEngine has read it."""
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from mmvit_backbones.engine.hooks.finite_loss import state_of
from mmvit_backbones.errors import CheckpointError, UnreadCheckpointError, UsageError
from mmvit_backbones.utils.classes import check_labels, classes_of
from mmvit_backbones.zoo.fitting import check_finite, fit
from mmvit_backbones.zoo.loading import find_weights, read_state

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}


def check_start(model: nn.Module, checkpoint: dict, source: str, resumes: bool,
                revise_keys: Sequence[tuple[str, str]] = ()) -> None:
    """Raises an error if a run cannot start from the weights of a checkpoint, or resume from it.

    A run starts from weights that the backbone has as a whole; what is new, such as a head, is said in the log.
    ``revise_keys`` is MMEngine's argument: pairs of a pattern and its replacement in the names of weights.
    """
    weights = checkpoint['state_dict']
    for pattern, replacement in revise_keys:  # as MMEngine will load them
        weights = {re.sub(pattern, replacement, name): x for name, x in weights.items()}
    if not resumes:
        fit(model, weights, 'the backbone', source)
        return
    check_state(checkpoint, source)
    try:
        fit(model, weights, 'all', source)
    except CheckpointError as error:  # another checkpoint of the run is for the same network
        raise UsageError(str(error)) from error


def use_tested(model: nn.Module, dataset: Any, checkpoint: dict, source: str) -> None:
    """Gives the weights of a checkpoint that is tested the names of the model.

    Raises:
        CheckpointError: If it is for another network.
        UsageError: If a label means one class in the checkpoint and another in the test data.
    """
    names = classes_of((checkpoint.get('meta') or {}).get('dataset_meta'))
    check_labels(names, classes_of(getattr(dataset, 'metainfo', None)), f'checkpoint {source}',
                 'the test data', 'test on data with the same classes in the same order, or set their names in '
                 'test_dataloader.dataset.metainfo.classes')
    checkpoint['state_dict'] = find_weights(model, checkpoint, source)
    fit(model, checkpoint['state_dict'], 'all', source)


def check_state(checkpoint: dict, source: str) -> None:
    """Raises an error if a checkpoint has no state of a training, or NaN or inf in it."""
    check_finite(state_of(checkpoint), source)
    if not TRAINING_STATE <= checkpoint.keys():
        raise UsageError(f'checkpoint {source} has no training state to resume; use load_from={source} to start from '
                         'its weights')


@contextmanager
def whole_one_named(path: str) -> Iterator[None]:
    """Adds to the error of a damaged checkpoint which other one in its folder a training can resume from."""
    try:
        yield
    except UnreadCheckpointError:  # which may be whole
        raise
    except CheckpointError as error:
        others = [file for kind in ('epoch', 'iter') for file in Path(path).parent.glob(f'{kind}_*.pth')
                  if file != Path(path)]
        for file in sorted(others, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            if is_whole(str(file)):
                raise CheckpointError(f'{error}; an older one is whole: resume={file} (--resume {file})') from error
        raise


def is_whole(path: str) -> bool:
    """Returns whether a training can resume from a checkpoint."""
    try:
        check_state(read_state(path), path)
    except (CheckpointError, UsageError):
        return False
    return True


def warn_of_others(runner: Any, cfg: Config) -> None:
    """Warns of checkpoints of another training in the work dir of a new one."""
    others = sorted(path.name for path in Path(cfg.work_dir).glob('*.pth'))
    if others and not cfg.get('resume'):
        runner.logger.warning(f'work dir {cfg.work_dir} has checkpoints of another training, such as {others[0]}; '
                              'those of the same names will be replaced. To go on with that training, resume it; to '
                              'keep it, choose another work dir')
