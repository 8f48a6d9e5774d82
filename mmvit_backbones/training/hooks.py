"""Hooks of the training and test scripts."""
import sys

from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.utils import ProgressBar
from torch import nn

from ..accelerate import accelerate
from ..errors import TrainingError
from ..zoo.loading import check_overlap, load_weights, unwrap_model


class CheckpointMatchHook(Hook):
    """Raises an error if the loaded checkpoint belongs to another network; mmengine only warns.

    Args:
        name (str): Name of the checkpoint in the message.
        strict (bool): Require all weights of the model instead of one, which suffices for fine-tuning.
    """

    priority = 'LOWEST'

    def __init__(self, name: str, strict: bool) -> None:
        self.name, self.strict = name, strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check = load_weights if self.strict else check_overlap
        check(runner.model, checkpoint, self.name)


class AccelerateHook(Hook):
    """Selects the fastest modules for the device of the model (:func:`mmvit_backbones.accelerate`)."""

    priority = 'LOWEST'  # after the weights are loaded

    def before_train(self, runner: Runner) -> None:
        accelerate(runner.model)

    def before_test(self, runner: Runner) -> None:
        # EMAHook exchanges all parameters with those of its copy, so that they have to stay as they are.
        is_averaged = any(isinstance(hook, EMAHook) for hook in runner.hooks)
        accelerate(runner.model, inference=not is_averaged)


class ProgressBarHook(Hook):
    """Shows the progress and remaining time of a training on a terminal."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        self.bar = ProgressBar(runner.max_iters - runner.iter, file=sys.stderr)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        self.bar.update()


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Raises a TrainingError for a label outside the classes of the head, which CUDA would not name."""

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        model = unwrap_model(runner.model)
        for sample in data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ():
            check_labels(model, sample)


def check_labels(model: nn.Module, sample: BaseDataElement) -> None:
    """Raises a TrainingError if a label of a sample is outside the classes of the head."""
    if 'gt_sem_seg' in sample and hasattr(model, 'decode_head'):
        head, labels, path = model.decode_head, sample.gt_sem_seg.data, sample.get('seg_map_path')
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        labels = labels[labels != head.ignore_index]
    elif 'gt_label' in sample and isinstance(getattr(getattr(model, 'head', None), 'num_classes', None), int):
        head, labels, path = model.head, sample.gt_label, sample.get('img_path')
    else:
        return
    if len(wrong := labels[(labels < 0) | (labels >= head.num_classes)]):
        raise TrainingError(f'{path}: label {int(wrong[0])}, and the model has the classes 0 to {head.num_classes - 1}')
