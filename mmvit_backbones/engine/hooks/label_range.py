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
        TrainingError: If a mask has another label than those of the classes and the ignored one.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        check_labels(unwrap_model(runner.model), data_batch)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        check_labels(unwrap_model(runner.model), data_batch)


def check_labels(model: nn.Module, data_batch: Any) -> None:
    """Raises TrainingError if the masks of a batch have labels that are no classes of the model's decode head."""
    head: Any = getattr(model, 'decode_head', None)
    head = head[-1] if isinstance(head, nn.ModuleList) else head
    if not isinstance(data_batch, dict) or not hasattr(head, 'num_classes'):
        return
    count = max(head.num_classes, 2)  # a head with one class tells it from the background
    for sample in data_batch.get('data_samples') or ():
        if 'gt_sem_seg' not in sample:
            continue
        labels = sample.gt_sem_seg.data
        ignored = {IGNORED, getattr(head, 'ignore_index', IGNORED)}
        wrong = (labels < 0) | (labels >= count)
        for label in ignored:
            wrong &= labels != label
        if wrong.any():
            path = sample.metainfo.get('seg_map_path') or f'of image {sample.metainfo.get("img_path")}'
            raise TrainingError(f'mask {path} has the label {labels[wrong].max()}; the model has {count} classes, so '
                                f'that labels may be 0 to {count - 1} and {IGNORED}')
