"""Ends trainings at labels outside the classes of the head."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import TrainingError
from ..zoo.loading import unwrap_model


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
