"""Applies new settings of the optimizer and the schedulers to a resumed run.

MMEngine restores the settings together with the states, so a new learning rate or schedule would have no effect.
"""
import warnings

from mmengine.optim import OptimWrapperDict, ReduceOnPlateauParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..errors import TrainingError
from ..zoo.loading import unwrap_model
from .plan import optim_wrappers, schedules


def settings_of(runner: Runner) -> dict:
    """Returns the settings of the optimizers and the schedulers, which must not have taken a step yet.

    The settings are the class of each optimizer, the ``names`` and ``options`` of each parameter group, and the state
    of each scheduler.
    """
    optimizers = [wrapper.optimizer for wrapper in optim_wrappers(runner)]
    names = {id(parameter): name for name, parameter in unwrap_model(runner.model).named_parameters()}
    groups = [dict(names=[names[id(parameter)] for parameter in group['params']],
                   options={key: value for key, value in group.items() if key != 'params'})
              for optimizer in optimizers for group in optimizer.param_groups]
    states = [dict(schedule.state_dict(), type=type(schedule).__name__) for schedule in schedules(runner)]
    classes = ', '.join(type(optimizer).__name__ for optimizer in optimizers)
    return dict(optimizer=classes, groups=groups, schedules=states)


def use_new_settings(runner: Runner, checkpoint: dict, before: dict, now: dict) -> None:
    """Converts the states of the optimizer and the schedulers in a checkpoint to new settings.

    The schedulers are advanced to the step of the checkpoint. The optimizer's states, such as momentum, are assigned to
    the parameters by name.

    Args:
        runner (Runner): Runner with an optimizer and schedulers that have the new settings.
        checkpoint (dict): Checkpoint, changed in place.
        before (dict): Settings of the checkpoint.
        now (dict): New settings.

    Raises:
        TrainingError: If the class of the optimizer differs, there are several optimizers, or a scheduler depends on a
            metric.
    """
    if before['optimizer'] != now['optimizer']:
        raise TrainingError(f'the checkpoint has the optimizer {before["optimizer"]}, but the config has '
                            f'{now["optimizer"]}; use the same optimizer, or start a new run from the weights with '
                            'load_from')
    reason = 'a schedule that depends on a metric cannot be recomputed' if any(
        isinstance(schedule, ReduceOnPlateauParamScheduler) for schedule in schedules(runner)) else None
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        reason = 'the settings of several optimizers cannot be changed'
    if reason:
        raise TrainingError('the checkpoint and the config differ in the settings of the optimizer or the schedulers, '
                            f'but {reason}; keep the settings, or start a new run from the weights with load_from')
    _repeat_schedules(runner, checkpoint['meta'])
    states = dict(zip(_names(before), _states(checkpoint['optimizer'])))
    wrapper, = optim_wrappers(runner)
    changed = wrapper.state_dict()
    changed['state'] = {index: states[name] for index, name in enumerate(_names(now)) if states.get(name)}
    if 'loss_scaler' in changed:
        changed['loss_scaler'] = checkpoint['optimizer'].get('loss_scaler', changed['loss_scaler'])
    checkpoint['optimizer'] = changed
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedules(runner)]


def same_settings(before: dict, now: dict) -> bool:
    """Returns whether two settings are equal; ignores optimizer options that only one of them has.

    Which options an optimizer has depends on the PyTorch version.
    """
    if [group['names'] for group in before['groups']] != [group['names'] for group in now['groups']]:
        return False
    options = all(old['options'][key] == new['options'][key] for old, new in zip(before['groups'], now['groups'])
                  for key in old['options'].keys() & new['options'].keys())
    return options and before['optimizer'] == now['optimizer'] and before['schedules'] == now['schedules']


def _names(settings: dict) -> list[str]:
    return [name for group in settings['groups'] for name in group['names']]


def _states(optimizer: dict) -> list[dict | None]:
    """Returns the optimizer state of each parameter in order, or None for a parameter without state."""
    return [optimizer['state'].get(index) for group in optimizer['param_groups'] for index in group['params']]


def _repeat_schedules(runner: Runner, meta: dict) -> None:
    """Advances the schedulers to the step of a checkpoint."""
    by_step = [scheduler for scheduler in schedules(runner) if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedules(runner) if scheduler.by_epoch]
    has_epochs, length = isinstance(runner.train_loop, EpochBasedTrainLoop), len(runner.train_dataloader)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Detected call of `scheduler.step', UserWarning)
        for step in range(1, meta['iter'] + 1):
            for scheduler in by_step:
                scheduler.step()
            epoch, rest = divmod(step, length)
            for scheduler in by_epoch if has_epochs and not rest and epoch <= meta['epoch'] else ():
                scheduler.step()
