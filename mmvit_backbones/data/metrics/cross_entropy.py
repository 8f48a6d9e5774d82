"""Cross entropy of a classifier's predictions."""
from collections.abc import Sequence

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class MeanCrossEntropy(BaseMetric):
    """Computes ``loss``: the mean over images of the negative log probability of the right class.

    The authors' evaluations print this loss: without label smoothing, even if training has it.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [-sample['pred_score'].double()[sample['gt_label']].clamp_min(1e-300).log().item()
                         for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return dict(loss=sum(results) / len(results))
