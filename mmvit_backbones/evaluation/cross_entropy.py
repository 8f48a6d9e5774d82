"""Cross entropy of a classifier's predictions."""
from collections.abc import Sequence

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class MeanCrossEntropy(BaseMetric):
    """Computes ``loss``: the mean negative log probability of the correct class.

    Like the losses in the authors' evaluation logs, this loss has no label smoothing, even if training uses it.
    """

    default_prefix = ''

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [-sample['pred_score'].double()[sample['gt_label']].clamp_min(1e-300).log().item()
                         for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return dict(loss=sum(results) / len(results))
