"""Stops a segmenter's training at a mask with a label that is no class."""
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ...errors import TrainingError
from ...utils.openmmlab_models import unwrap_model

IGNORED = 255


@HOOKS.register_module()
class LabelRangeHook(Hook):
    """Compares the masks of each batch with the number of classes of mmseg's decode head, before they are used.

    PyTorch's losses fail at a label above the last class without naming the mask, on GPUs after an assertion of the
    device; mmseg's metrics leave out such pixels without a word. Masks are compared on the CPU, where loaders put them.

    Raises:
        TrainingError: If a mask has another label than those of the classes and the one that the loss of the decode
            head, or in a validation or test the metrics, ignore.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        head = head_of(runner)
        check_labels(head, data_batch, getattr(head, 'ignore_index', IGNORED))

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        check_labels(head_of(runner), data_batch, ignored_by(runner.val_evaluator))

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        check_labels(head_of(runner), data_batch, ignored_by(runner.test_evaluator))


def head_of(runner: Runner) -> Any:
    """Returns the decode head of mmseg's model, the last one of a cascade, or None."""
    head: Any = getattr(unwrap_model(runner.model), 'decode_head', None)
    return head[-1] if isinstance(head, nn.ModuleList) else head


def ignored_by(evaluator: Any) -> int:
    """Returns the label that mmseg's metrics leave out."""
    return next((metric.ignore_index for metric in evaluator.metrics if hasattr(metric, 'ignore_index')), IGNORED)


def check_labels(head: Any, data_batch: Any, ignored: int) -> None:
    """Raises TrainingError if the masks of a batch have labels that are neither classes of a head nor ignored."""
    if not isinstance(data_batch, dict) or not hasattr(head, 'num_classes'):
        return
    count = max(head.num_classes, 2)  # a head with one class tells it from the background
    for sample in data_batch.get('data_samples') or ():
        if 'gt_sem_seg' not in sample:
            continue
        labels = sample.gt_sem_seg.data
        wrong = ((labels < 0) | (labels >= count)) & (labels != ignored)
        if wrong.any():
            path = sample.metainfo.get('seg_map_path') or f'of image {sample.metainfo.get("img_path")}'
            raise TrainingError(f'mask {path} has the label {labels[wrong].max()}; the model has {count} classes, so '
                                f'that labels may be 0 to {count - 1} and {ignored}, which is ignored')
