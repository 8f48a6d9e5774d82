"""Stops training at a label outside the classes of the head."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import TrainingError
from ..zoo.loading import unwrap_model


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Raises TrainingError if an image or a pixel has a label outside the head's classes.

    On CUDA, the error would otherwise be opaque. Labels of boxes are not checked.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        model = unwrap_model(runner.model)
        for sample in data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ():
            check_labels(model, sample)


def check_labels(model: nn.Module, sample: BaseDataElement) -> None:
    """Raises TrainingError if a label of a sample is outside the classes of the head."""
    decode_head, head = getattr(model, 'decode_head', None), getattr(model, 'head', None)
    if 'gt_sem_seg' in sample and decode_head is not None:
        head = decode_head[-1] if isinstance(decode_head, nn.ModuleList) else decode_head
        labels, path = sample.get('gt_sem_seg').data, sample.get('seg_map_path')
        labels = labels[labels != head.ignore_index]
    elif 'gt_label' in sample:
        labels, path = sample.get('gt_label'), sample.get('img_path')
    else:
        return
    num_classes = getattr(head, 'num_classes', None)
    if isinstance(num_classes, int) and len(wrong := labels[(labels < 0) | (labels >= num_classes)]):
        raise TrainingError(f'{path}: label {int(wrong[0])}, but the model has the classes 0 to {num_classes - 1}')
