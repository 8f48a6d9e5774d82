"""Compares a run with the published curve of its recipe."""
from collections.abc import Iterator

from mmengine.dist import get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..zoo.curves import Curve
from .plan import batch_size_of, num_images

# Metrics that are compared, their names and the factor to the printed value.
METRICS = {'accuracy/top1': ('top-1', ' %', 1), 'mIoU': ('mIoU', ' %', 1),
           'coco/bbox_mAP': ('box AP', '', 100), 'coco/segm_mAP': ('mask AP', '', 100)}
CHANCE = 0.2  # top-1 in percent; averaged weights stay below it as long as they resemble the initial ones


class PublishedCurveHook(Hook):
    """Logs the published value next to each evaluation, and once, that the run has fallen behind the published one.

    If the run has another number of images per update, another length or other data, it is not comparable: the hook
    logs the differences before training, and nothing else.

    Args:
        curve (Curve): Published curve of the run's recipe.
    """

    priority = 'LOWEST'

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self.is_comparable = self.is_behind = self.averaged = False

    def before_train(self, runner: Runner) -> None:
        about = f'published curve: {self.curve.source}' + (f' ({self.curve.remark})' if self.curve.remark else '')
        different = list(differences(runner, self.curve))
        self.is_comparable = not different
        self.averaged = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        if different:
            runner.logger.info(f'{about}; not comparable: {", ".join(different)}')
        elif self.averaged and self.curve.has_averaged():
            runner.logger.info(f'{about}; {describe_averaging(self.curve)}')
        else:
            runner.logger.info(about)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not self.is_comparable or metrics is None:
            return
        at = runner.epoch if self.curve.unit == 'epoch' else runner.iter
        texts, behind = [], []
        for name, (title, unit, factor) in METRICS.items():
            published = self.curve.values(name, self.averaged).get(at)
            if published is None or name not in metrics:
                continue
            texts.append(f'{title} {factor * metrics[name]:.1f}{unit}, published at this {self.curve.unit} '
                         f'{factor * published:.1f}{unit}')
            low = self.curve.low(name, at, self.averaged)
            if metrics[name] < low:
                behind.append(f'{title} is below {factor * low:.1f}{unit}')
        if texts:
            runner.logger.info('; '.join(texts))
        if behind and not self.is_behind:
            self.is_behind = True
            runner.logger.warning(f'the run has fallen behind the published one by more than the noise of its curve: '
                                  f'{", ".join(behind)}')


def differences(runner: Runner, curve: Curve) -> Iterator[str]:
    """Yields a text for each condition of a published run that this run does not have."""
    loader = runner.train_dataloader
    is_by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    length, unit = (runner.max_epochs, 'epoch') if is_by_epoch else (runner.max_iters, 'iteration')
    accumulated = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
    per_update = batch_size_of(loader) * get_world_size() * accumulated
    if per_update != curve.images_per_update:
        yield f'{per_update} images per update instead of {curve.images_per_update}'
    if (length, unit) != (curve.length, curve.unit):
        yield f'{length} {unit}s instead of {curve.length} {curve.unit}s'
    if abs(num_images(loader.dataset) - curve.images) > curve.images / 100:
        yield f'{num_images(loader.dataset)} training images instead of {curve.images}'


def describe_averaging(curve: Curve) -> str:
    """Says until when the averaged weights, which are evaluated, are worse than the raw ones in the published run."""
    name = 'accuracy/top1'
    averaged, raw = curve.values(name), curve.values(name, averaged=False)
    chance = max(epoch for epoch, value in averaged.items() if value < CHANCE)
    ahead = min(epoch for epoch, value in averaged.items() if epoch > chance and value >= raw[epoch])
    return (f'the averaged weights, which are evaluated, were at chance until epoch {chance}, and better than the raw '
            f'weights from epoch {ahead}')
