"""Checks the checkpoint from which a run starts, resumes or is tested, once MMEngine has read it."""
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from mmvit_backbones.engine.hooks.finite_loss import state_of
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.classes import check_labels, classes_of
from mmvit_backbones.zoo.fitting import check_finite, fit
from mmvit_backbones.zoo.loading import find_weights

TRAINING_STATE = {'meta', 'message_hub', 'optimizer'}


def check_start(model: nn.Module, checkpoint: dict, source: str, resumes: bool) -> None:
    """Raises an error if a run cannot start from the weights of a checkpoint, or resume from it.

    A run starts from weights that the backbone has as a whole; what is new, such as a head, is said in the log.
    """
    weights = {name.removeprefix('module.'): x for name, x in checkpoint['state_dict'].items()}  # as MMEngine does
    if resumes:
        check_state(checkpoint, source)
    fit(model, weights, 'all' if resumes else 'the backbone', source)


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


def warn_of_others(runner: Any, cfg: Config) -> None:
    """Warns of checkpoints of another training in the work dir of a new one."""
    others = sorted(path.name for path in Path(cfg.work_dir).glob('*.pth'))
    if others and not cfg.get('resume'):
        runner.logger.warning(f'work dir {cfg.work_dir} has checkpoints of another training, such as {others[0]}; '
                              'those of the same names will be replaced. To go on with that training, resume it; to '
                              'keep it, choose another work dir')
