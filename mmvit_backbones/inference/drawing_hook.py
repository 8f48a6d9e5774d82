"""Draws the predictions of a test, next to the annotations."""
import os.path as osp
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from PIL import Image

from .results import result_of
from .runtimes import Arrays, arrays_of, palette_of

MIN_SIDE = 320  # of drawn images without boxes and masks, in pixels, for text to be readable


class DrawingHook(Hook):
    """Draws classes, boxes and masks, or segments into files with the path of the image in its data set.

    The left half shows the annotations, if there are any, the right half the predictions.

    Args:
        out_dir (str): Folder for the drawings.
        score_thr (float): Lowest score of the objects drawn.
    """

    def __init__(self, out_dir: str, score_thr: float) -> None:
        self.out_dir, self.score_thr = Path(out_dir), score_thr

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                        outputs: Sequence[BaseDataElement]) -> None:
        import mmcv
        dataset = runner.test_dataloader.dataset
        classes, root = list(dataset.metainfo.get('classes') or ()), getattr(dataset, 'data_root', None) or '.'
        palette = palette_of(dataset.metainfo)
        for sample in outputs:
            image = mmcv.imread(sample.img_path, channel_order='rgb')
            if 'pred_score' in sample and min(image.shape[:2]) < MIN_SIDE:
                image = mmcv.imrescale(image, MIN_SIDE / min(image.shape[:2]))
            name = osp.relpath(sample.img_path, root)
            path = self.out_dir / (osp.basename(name) if name.startswith('..') else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = np.hstack([result_of(found, name, image, classes, palette, self.score_thr).draw()
                               for found in (annotated(sample), arrays_of(sample)) if found])
            Image.fromarray(drawn).save(path.with_suffix('.png'))


def annotated(sample: BaseDataElement) -> Arrays:
    """Returns the annotations of a sample as :func:`arrays_of`, each with the score 1; empty if there are none."""
    if 'gt_label' in sample:
        labels = sample.gt_label.cpu().numpy()
        return dict(labels=labels, scores=np.ones(len(labels), np.float32))
    if 'gt_sem_seg' in sample:
        return dict(segmentation=sample.gt_sem_seg.data[0].cpu().numpy())
    found = sample.get('gt_instances')
    if found is None or 'bboxes' not in found:
        return {}
    boxes = getattr(found.bboxes, 'tensor', found.bboxes).cpu().numpy()
    result = dict(labels=found.labels.cpu().numpy(), scores=np.ones(len(boxes), np.float32), boxes=boxes)
    if 'masks' in found:
        result['masks'] = found.masks.to_ndarray().astype(bool)
    return result
