"""Compares exported files with PyTorch."""
from collections.abc import Sequence
from os import PathLike

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..inference import Predictor
from ..inference.runtimes import Arrays, PyTorchModel
from .preprocess import Preprocess

LIMITS = dict(resized=2, scores=1e-3, pixels=0.999, matched=0.99, boxes=0.99, masks=0.99)  # allow rounding errors


class PyTorchOutputs:
    """The outputs of the framework's model for some images, with which files of :func:`.write_parts` are compared.

    Files get the same resized images: a rounding error of one pixel changes more in the predictions than a runtime
    does.

    Args:
        reference (PyTorchModel): The framework's model.
        images (Sequence[np.ndarray]): ``(height, width, 3)`` in RGB uint8.
        preprocess (Preprocess): The part of the files that resizes and normalizes images.

    Attributes:
        resized (float): Largest difference between resized images of ``preprocess`` and of the framework, of 255.
        is_empty (bool): Whether the reference is a detector that finds no instance in any of the images.
    """

    def __init__(self, reference: PyTorchModel, images: Sequence[np.ndarray], preprocess: Preprocess) -> None:
        self.images, self.resized = images, 0.
        data = [reference.prepare(image) for image in images]
        for sample, image in zip(data, images):
            before, sample['inputs'] = sample['inputs'], pixels_of(preprocess, image, sample['inputs'].shape)
            self.resized = max(self.resized, float((before.float() - sample['inputs'].float()).abs().max()))
        self.expected = reference.run_prepared(data)
        self.is_empty = all('labels' in found and not len(found['labels']) for found in self.expected)

    def compare(self, path: str | PathLike, runtime: str) -> dict[str, float]:
        """Returns the :func:`worst` results of :func:`compare_outputs` over the images, for a file in a runtime.

        ``resized`` is the largest difference of a resized pixel from the framework's.
        """
        found = Predictor(str(path), device='cpu', runtime=runtime).model.run(self.images)
        figures = worst([compare_outputs(*pair) for pair in zip(self.expected, found, strict=True)])
        return dict(resized=self.resized, **figures)


def pixels_of(preprocess: Preprocess, image: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Returns the resized and cropped image ``shape`` in BGR uint8, as the frameworks' pipelines do."""
    pixels = preprocess(torch.from_numpy(image))[0] * preprocess.std + preprocess.mean
    pixels = pixels.round().byte()[:, :shape[1], :shape[2]]  # without padding
    return pixels.flip(0) if preprocess.is_rgb else pixels


def compare_outputs(expected: Arrays, actual: Arrays) -> dict[str, float]:
    """Compares two outputs of a model for one image.

    Returns:
        dict[str, float]: For a classifier, ``scores``: the largest difference. For a segmenter, ``pixels``: the
        fraction of equal pixels. For a detector, each expected instance is paired with the actual instance of its class
        that has the highest IoU, and ``matched`` is the fraction of pairs whose IoU is at least the limit for
        ``boxes``, reduced if there are more actual than expected instances. Over the matched pairs, ``scores`` is the
        largest difference, and ``boxes`` and ``masks`` are the smallest IoUs. Without instances, there are no figures.
    """
    if 'segmentation' in expected:
        return dict(pixels=float((expected['segmentation'] == actual['segmentation']).mean()))
    if 'boxes' not in expected:
        return dict(scores=float(np.abs(expected['scores'] - actual['scores']).max()))
    numbers = len(expected['labels']), len(actual['labels'])
    if not all(numbers):
        return dict(matched=0.) if any(numbers) else {}
    ious = box_iou(torch.from_numpy(expected['boxes']), torch.from_numpy(actual['boxes'])).nan_to_num().numpy()
    ious[expected['labels'][:, None] != actual['labels']] = 0
    # Among equal boxes, the closest score wins.
    pairs = (ious - 1e-2 * np.abs(expected['scores'][:, None] - actual['scores'])).argmax(1)
    ious = ious[np.arange(len(pairs)), pairs]
    found = ious >= LIMITS['boxes']
    result = dict(matched=float(found.mean()) * min(1., numbers[0] / numbers[1]),
                  scores=float(np.abs(expected['scores'] - actual['scores'][pairs])[found].max(initial=0)),
                  boxes=float(ious[found].min(initial=1)))
    if 'masks' in expected:
        ours, theirs = expected['masks'][found], actual['masks'][pairs][found]
        union = (ours | theirs).sum((1, 2))
        result['masks'] = float(((ours & theirs).sum((1, 2)) / union.clip(1))[union > 0].min(initial=1))
    return result


def worst(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Combines the results of :func:`compare_outputs` for several images.

    ``pixels`` and ``matched`` are means, ``matched`` over the images with instances; the other results are the worst.
    """
    choose = dict(scores=max, boxes=min, masks=min)
    return {name: float(choose.get(name, np.mean)([figure[name] for figure in figures if name in figure]))
            for name in dict.fromkeys(name for figure in figures for name in figure)}
