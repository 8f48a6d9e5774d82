"""Says that a training has not learned more than the frequencies of the classes."""
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn

MOST = 0.97  # share of the loss of chance
FEWEST = 5  # losses, of which the mean can be compared


@HOOKS.register_module()
class ChanceLossHook(Hook):
    """Warns if the loss of a classifier or segmenter is that of chance, at half of the steps and at the end.

    That is the lowest loss of a model with the same answer for every image or pixel: of a cross entropy the entropy of
    the labels, as the loss smooths and weights them. The warning comes if the mean loss of the last tenth of the steps,
    but at least five, is above 0.97 of it, as after a learning rate at which the layers of pretrained weights were
    destroyed. Of other losses, nothing is said.
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
        losses = runner.message_hub.get_scalar('train/loss').data[0][-max(FEWEST, steps // 10):]
        loss, chance = float(losses.mean()), chance_of(getattr(runner, 'model', None), self.counts)
        if chance and len(losses) >= FEWEST and loss > MOST * chance:
            runner.logger.warning(f'step {runner.iter + 1}: the mean loss of the last {len(losses)} steps is '
                                  f'{loss:.3g}, and {chance:.3g} by guessing after the frequencies of the classes; a '
                                  'lower learning rate may help')


def chance_of(model: nn.Module | None, counts: Tensor) -> float:
    """Returns the lowest loss of a model that guesses, where each class has so many labels.

    0 if a loss of the model is not a mean cross entropy, or is unknown.
    """
    losses = [loss for part in (model.modules() if model else ()) for name in ('loss_module', 'loss_decode')
              if isinstance(found := getattr(part, name, None), nn.Module)
              for loss in (found if isinstance(found, nn.ModuleList) else [found])]
    chances = [guessed_loss(loss, counts / counts.sum()) for loss in losses]
    return sum(chances) if all(chances) else 0.


def guessed_loss(loss: Any, shares: Tensor) -> float:
    """Returns the lowest mean loss of equal logits for all labels, of which each class has a share ``(classes,)``.

    The loss is one of mmpretrain or mmseg, or of our segmenters; 0 if it is not a mean cross entropy.
    """
    entropy = getattr(loss, 'ce', loss)  # of labels that LabelSmoothLoss has smoothed
    settings = [getattr(entropy, name, default) for name, default in (
        ('reduction', 'mean'), ('use_sigmoid', False), ('use_mask', False))]
    if type(entropy).__name__ not in ('CrossEntropyLoss', 'LabeledCrossEntropy') or settings != ['mean', False, False]:
        return 0.
    weights = torch.tensor(entropy.class_weight or 1.)
    number = getattr(loss, 'num_classes', None) or max(len(shares), weights.numel())
    smoothed = getattr(loss, 'smooth_label', lambda x: x)(F.pad(shares, (0, number - len(shares))))
    targets = smoothed * weights
    # The loss is -sum(targets * log(probabilities)), the lowest where the probabilities have the shares of the targets.
    lowest = loss.loss_weight * float(torch.distributions.Categorical(targets).entropy())
    is_weighted_mean = hasattr(entropy, 'loss_name')  # of segmenters, by the weights of the classes
    return lowest if is_weighted_mean else lowest * float(targets.sum())


def labels_of(data_batch: Any) -> list[Tensor]:
    """Returns the labels of the images or the labeled pixels of a batch of mmpretrain or mmseg, else nothing."""
    samples = data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ()
    labels = [sample.gt_label if 'gt_label' in sample else sample.gt_sem_seg.data.flatten()
              for sample in samples if 'gt_label' in sample or 'gt_sem_seg' in sample]
    return [each[(each >= 0) & (each != 255)].long() for each in labels]
