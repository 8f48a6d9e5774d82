"""Says that a training has not learned more than the frequencies of the classes."""
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

MOST = 0.97  # share of the loss of chance


@HOOKS.register_module()
class ChanceLossHook(Hook):
    """Warns if the loss of a classifier or segmenter is that of chance, at half of the steps and at the end.

    A model that predicts the frequencies of the classes for every image or pixel has a cross entropy of the entropy of
    the labels. The warning comes if the mean loss of the last tenth of the steps is above 0.97 of it, as after a
    learning rate at which the layers of pretrained weights were destroyed.
    """

    priority = 'LOW'  # after the loss was recorded

    def __init__(self) -> None:
        self.counts = torch.zeros(0)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        for labels in labels_of(data_batch):
            found = torch.bincount(labels, minlength=len(self.counts))
            self.counts = found + F.pad(self.counts, (0, len(found) - len(self.counts)))
        steps = runner.max_iters
        if runner.iter + 1 not in (steps // 2, steps) or not self.counts.sum():
            return
        losses = runner.message_hub.get_scalar('train/loss').data[0][-max(1, steps // 10):]
        loss, chance = float(losses.mean()), float(torch.distributions.Categorical(self.counts).entropy())
        if loss > MOST * chance:
            runner.logger.warning(f'step {runner.iter + 1}: the mean loss of the last {len(losses)} steps is '
                                  f'{loss:.3g}, and {chance:.3g} by guessing after the frequencies of the classes; a '
                                  'lower learning rate may help')


def labels_of(data_batch: Any) -> list[Tensor]:
    """Returns the labels of the images or the labeled pixels of a batch of mmpretrain or mmseg, else nothing."""
    samples = data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ()
    labels = [sample.gt_label if 'gt_label' in sample else sample.gt_sem_seg.data.flatten()
              for sample in samples if 'gt_label' in sample or 'gt_sem_seg' in sample]
    return [each[(each >= 0) & (each != 255)].long() for each in labels]
