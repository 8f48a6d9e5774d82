"""Sets the length, learning rate and early stopping of a training run, and scales the schedulers."""
from mmengine.config import Config

from ..errors import UsageError
from ..utils.config import FOREVER, metrics_of, schedules_of

SPANS = ('begin', 'end', 'T_max', 'step_size', 'total_steps')  # scheduler settings in epochs or iterations
RATES = ('eta_min', 'eta_max')  # scheduler settings that are absolute learning rates
INTERVALS = ('val_interval', 'val_begin', 'interval')  # settings of evaluations and checkpoints
# The main metric of each framework: type, key, and the smallest change that early stopping counts as an improvement.
MAIN_METRICS = dict(mmdet=('CocoMetric', 'coco/bbox_mAP', 0.001), mmseg=('IoUMetric', 'mIoU', 0.1),
                    mmpretrain=('Accuracy', 'accuracy/top1', 0.1))


def scale_length(cfg: Config, unit: str, length: int) -> None:
    """Sets the length of a training run and scales all schedulers to it, including the warm-up.

    The intervals of evaluations and checkpoints are shortened with the run, but never lengthened.

    Args:
        cfg (Config): Changed in place.
        unit (str): Unit of the length, 'epochs' or 'iters'.
        length (int): Number of epochs or iterations.

    Raises:
        UsageError: If the config sets the length in the other unit, or ``length`` is less than 1.
    """
    if f'max_{unit}' not in cfg.train_cfg:
        other = 'iters' if unit == 'epochs' else 'epochs'
        raise UsageError(f'--{unit} cannot be used, because {cfg.filename} sets max_{other}; use --{other}')
    if length < 1:
        raise UsageError(f'--{unit} must be at least 1, got {length}')
    factor = length / cfg.train_cfg[f'max_{unit}']
    cfg.train_cfg[f'max_{unit}'] = length
    for schedule in schedules_of(cfg):
        for key in SPANS:
            if 0 < schedule.get(key, 0) < FOREVER:
                schedule[key] = _scaled(schedule[key], factor)
        if schedule.get('begin', 0) >= schedule.get('end', FOREVER):  # e.g. in a run of only one epoch
            schedule['begin'] = schedule['end'] - 1
        if 'milestones' in schedule:
            schedule['milestones'] = [max(1, int(milestone * factor)) for milestone in schedule['milestones']]
        if 'periods' in schedule:
            schedule['periods'] = [_scaled(period, factor) for period in schedule['periods']]
    checkpoints = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    for node in (cfg.train_cfg, checkpoints):
        for key in INTERVALS:
            if node.get(key, 0) > 0:
                node[key] = _scaled(node[key], min(factor, 1))


def _scaled(value: int, factor: float) -> int:
    return max(1, round(value * factor))


def scale_lr(cfg: Config, lr: float) -> None:
    """Sets the peak learning rate and scales the absolute learning rates of the schedulers.

    Raises:
        UsageError: If the config sets no learning rate, or ``lr`` is not above 0.
    """
    optimizer = cfg.optim_wrapper.get('optimizer') or {}
    if 'lr' not in optimizer:
        raise UsageError(f'--lr requires optim_wrapper.optimizer.lr, which {cfg.filename} does not set')
    if not lr > 0:
        raise UsageError(f'--lr must be above 0, got {lr}')
    factor = lr / optimizer['lr']
    optimizer['lr'] = lr
    for schedule in schedules_of(cfg):
        for key in RATES:
            if schedule.get(key):
                schedule[key] *= factor


def stop_early(cfg: Config, patience: int) -> None:
    """Adds MMEngine's EarlyStoppingHook, which ends training after ``patience`` evaluations without improvement.

    Raises:
        UsageError: If ``patience`` is less than 1, or the framework's main metric is not evaluated.
    """
    if patience < 1:
        raise UsageError(f'--early-stop must be at least 1, got {patience}')
    metric, key, change = MAIN_METRICS[cfg.default_scope]
    if metric not in [evaluator.get('type') for evaluator in metrics_of(cfg, 'val')]:
        raise UsageError(f'--early-stop requires a val_evaluator of type {metric} in {cfg.filename}; for another '
                         'metric, set custom_hooks=[dict(type="EarlyStoppingHook", monitor=…, rule=…)]')
    hook = dict(type='EarlyStoppingHook', monitor=key, patience=patience, min_delta=change, rule='greater')
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
