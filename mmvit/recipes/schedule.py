"""The length, learning rates and hooks of fine-tunings. No recipe is published; these settings are ours."""
import math
from dataclasses import dataclass

from ..configs.precisions import PRECISIONS
from ..frameworks.tasks import LEAST_GAIN, Task
from .plan import Plan

# Of the rate of new layers, for pretrained ones, as of DETR's backbone (arXiv 2005.12872); rows of docs/recipes.csv.
PRETRAINED_MULT = 0.1
# The highest of new layers that was measured, and of pretrained ones: at twice of it, MobileNetV2 forgets its weights.
MOST_LR, MOST_PRETRAINED_LR = 8e-3, 2e-4
WARM_UP, LEAST_WARM_UP = 0.05, 20  # share of the training; steps from pretrained weights
AVERAGED = 0.1  # share of the training over which the weights are averaged
LEAST_MOMENTUM, MOST_MOMENTUM = 0.0002, 0.1  # of the averages
MOST_VALIDATIONS = 10


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The schedule of a fine-tuning.

    Args:
        plan (Plan): What it is made from.
        lr (float): Peak learning rate of new layers.
        pretrained_mult (float): Factor of that rate for pretrained layers.
        new (list[str]): Names of the modules and weights that do not start from weights.
        layer_decay (float): Factor of the rate from each layer to the one before it.
    """

    plan: Plan
    lr: float
    pretrained_mult: float
    new: list[str]
    layer_decay: float

    @property
    def warm_up(self) -> int:
        """Returns the number of steps before the peak of the rate; in less than 2, MMEngine stays at the first rate."""
        steps = round(WARM_UP * self.plan.steps)
        if self.plan.network.weights:
            steps = max(steps, min(LEAST_WARM_UP, self.plan.steps // 4))
        return steps if steps > 1 else 0

    @property
    def val_interval(self) -> int:
        """Returns the number of epochs between validations."""
        return max(1, min(10, round(self.plan.epochs / MOST_VALIDATIONS)))

    @property
    def checkpoint_interval(self) -> int:
        """Returns the number of epochs between checkpoints, which end with an update, as they have no gradients."""
        accumulate = self.plan.given.accumulate
        epochs = accumulate // math.gcd(accumulate, self.plan.steps_per_epoch)
        return epochs * math.ceil(self.val_interval / epochs)

    def make_optimization(self) -> dict:
        """Returns the optimizer and its schedule: AdamW, warm-up, then cosine decay."""
        start = self.warm_up
        warm_up = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=start)] if start else []
        new = dict(new=self.new) if self.pretrained_mult != 1 else {}
        return dict(
            optim_wrapper=dict(
                **PRECISIONS[self.plan.precision], accumulative_counts=self.plan.given.accumulate,
                optimizer=dict(type='AdamW', lr=self.lr, weight_decay=0.05), constructor='LayerDecayConstructor',
                paramwise_cfg=dict(decay_rate=self.layer_decay, pretrained_mult=self.pretrained_mult, **new),
                clip_grad=dict(max_norm=5.0)),
            param_scheduler=[
                *warm_up,
                dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=start, end=self.plan.steps)],
            auto_scale_lr=dict(enable=False, base_batch_size=self.plan.images_per_step))

    def make_loops(self) -> dict:
        """Returns the loops of training, validation and test."""
        train = dict(type='EpochBasedTrainLoop', max_epochs=self.plan.epochs, val_interval=self.val_interval)
        return dict(train_cfg=train, val_cfg=dict(type='ValLoop'), test_cfg=dict(type='TestLoop'))

    def make_hooks(self, task: Task) -> dict:
        """Returns the hooks: checkpoints that are written as a whole, exact resuming, the check of the loss."""
        given, patience = self.plan.given, self.plan.given.early_stop
        early = [dict(type='ResumableEarlyStoppingHook', monitor=task.metric, patience=patience,
                      min_delta=LEAST_GAIN / task.factor, rule='greater', begin_above=0.)] if patience else []
        momentum = min(max(1 / (AVERAGED * self.plan.steps), LEAST_MOMENTUM), MOST_MOMENTUM)
        averages = [dict(type='EMAHook', momentum=momentum, update_buffers=True)] if given.ema else []
        compiled = [dict(type='CompileHook')] if given.compile else []
        chance = [dict(type='ChanceLossHook')] if self.plan.network.weights and task.name != 'detector' else []
        return dict(
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=20, ignore_last=False),
                checkpoint=dict(type='CheckpointHook', interval=self.checkpoint_interval, max_keep_ckpts=3,
                                save_best=task.metric, backend_args=dict(backend='atomic')),
                visualization=dict(type=task.drawing_hook),
                finite_loss=dict(type='FiniteLossHook'),
                interrupt=dict(type='InterruptHook')),
            custom_hooks=[dict(type='ExactResumeHook'), dict(type='OwnFilesHook'), *chance, *averages, *early,
                          *compiled])
