"""Accuracy of a classifier for each class."""
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.visualization import Visualizer

from ..utils.fonts import font_for, fonts_for

SHOWN = 50  # maximum number of classes in the log, or named in the confusion matrix


@METRICS.register_module()
class PerClassAccuracy(BaseMetric):
    """Computes ``mean_class_accuracy`` in percent, logs the accuracy by class, and can draw a confusion matrix.

    At most 50 classes are logged, namely those with the lowest accuracy.

    Args:
        draw (bool): Whether to add a drawing of the confusion matrix to the run's visualizer, which saves it beside the
            log. Defaults to False.
        **kwargs: Arguments of MMEngine's ``BaseMetric``.
    """

    default_prefix = ''

    def __init__(self, draw: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.draw = draw

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [(int(sample['pred_score'].argmax()), int(sample['gt_label']), len(sample['pred_score']))
                         for sample in data_samples]

    def compute_metrics(self, results: list[tuple[int, int, int]]) -> dict[str, float]:
        from mmengine.logging import print_log
        from mmpretrain.evaluation import ConfusionMatrix
        predicted, labels, (num_classes, *_) = map(np.array, zip(*results))
        names = list((self.dataset_meta or {}).get('classes') or range(num_classes))
        matrix = torch.as_tensor(ConfusionMatrix.calculate(predicted, labels, num_classes))
        counts, hits = matrix.sum(1).numpy(), matrix.diag().numpy()
        accuracy = 100 * hits / np.maximum(counts, 1)
        present = np.flatnonzero(counts)
        listed = present if len(present) <= SHOWN else present[np.argsort(accuracy[present])][:SHOWN]
        print_log('accuracy by class:\n' + '\n'.join(
            f'{accuracy[i]:6.1f} %  {hits[i]} of {counts[i]}  {names[i]}' for i in listed), 'current')
        if self.draw and (visualizer := current_visualizer()):
            import matplotlib.pyplot as plt
            drawn = [name if font_for(name := str(each)) else str(i) for i, each in enumerate(names)]
            with fonts_for(drawn):
                figure = ConfusionMatrix.plot(matrix, include_values=num_classes <= 20, show=False,
                                              classes=drawn if num_classes <= SHOWN else None)
                figure.canvas.draw()
            visualizer.add_image(
                'confusion_matrix', np.asarray(figure.canvas.buffer_rgba())[..., :3])  # pyright: ignore
            plt.close(figure)
        return dict(mean_class_accuracy=float(accuracy[present].mean()))


def current_visualizer() -> Visualizer | None:
    """Returns the visualizer of the current run; None outside of runs."""
    try:
        return Visualizer.get_current_instance()
    except RuntimeError:  # no runner has built one
        return None
