"""Compares exported files with PyTorch."""
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from mmvit_backbones.export.onnx_export import signature_of

from ..inference import Predictor
from ..inference.runtimes import Arrays, PyTorchModel, open_session
from .preprocess import Preprocess, as_tuple

# EXACT allows rounding errors; LOSSY also the errors of float16 and int8. Detectors must find at least one instance.
EXACT = dict(resized=2, scores=1e-3, pixels=0.999, instances=1, matched=0.99, boxes=0.99, masks=0.99)
LOSSY = dict(resized=2, scores=0.1, pixels=0.98, instances=1, matched=0.95, boxes=0.8, masks=0.9)


class PyTorchOutputs:
    """The outputs of the framework's model for some images, with which files of :func:`.write_parts` are compared.

    Files get the same resized images: a rounding error of one pixel changes more in the predictions than a runtime
    does.

    Args:
        reference (PyTorchModel): The framework's model.
        images (Sequence[np.ndarray]): ``(height, width, 3)`` in RGB uint8.
        preprocess (Preprocess | None): The part of the files that resizes and normalizes images. With None, the
            framework preprocesses the images, and boxes and masks are in pixels of the preprocessed images.

    Attributes:
        resized (float): Largest difference between resized images of ``preprocess`` and of the framework, of 255.
        is_empty (bool): Whether the reference is a detector that finds no instance in any of the images.
    """

    def __init__(self, reference: PyTorchModel, images: Sequence[np.ndarray], preprocess: Preprocess | None) -> None:
        self.preprocessing, self.resized = preprocess is not None, 0.
        self.inputs = inputs_of(reference, images, self.preprocessing)
        if preprocess:
            data = [reference.prepare(image) for image in images]
            for sample, image in zip(data, images):
                before, sample['inputs'] = sample['inputs'], pixels_of(preprocess, image, sample['inputs'].shape)
                self.resized = max(self.resized, float((before.float() - sample['inputs'].float()).abs().max()))
            self.expected = reference.run_prepared(data)
        else:
            self.expected = [reference.run_preprocessed(reference.preprocess(image)) for image in images]
        self.is_empty = all('labels' in found and not len(found['labels']) for found in self.expected)

    def compare(self, path: str | PathLike, limits: dict[str, float], runtime: str) -> dict[str, float]:
        """Returns the :func:`worst` results of :func:`compare_outputs` over the images, for a file in a runtime.

        If the file resizes images, ``resized`` is the largest difference of a resized pixel from the framework's.
        """
        found = self._predict(path, runtime)
        figures = worst([compare_outputs(*pair, limits) for pair in zip(self.expected, found, strict=True)])
        return dict(resized=self.resized, **figures) if self.preprocessing else figures

    def _predict(self, path: str | PathLike, runtime: str) -> list[Arrays]:
        if self.preprocessing:
            return Predictor(str(path), device='cpu', runtime=runtime).model.run(self.inputs)
        session, is_detector = open_session(Path(path), runtime, 'cpu'), 'boxes' in self.expected[0]
        found = [session({'image' if is_detector else 'images': image}) for image in self.inputs]
        # Outputs of classifiers and segmenters are batches of one.
        return found if is_detector else [{name: value[0] for name, value in each.items()} for each in found]


def pixels_of(preprocess: Preprocess, image: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Returns the resized and cropped image ``shape`` in BGR uint8, as the frameworks' pipelines do."""
    pixels = preprocess(torch.from_numpy(image))[0] * preprocess.std + preprocess.mean
    pixels = pixels.round().byte()[:, :shape[1], :shape[2]]  # without padding
    return pixels.flip(0) if preprocess.is_rgb else pixels


def inputs_of(reference: PyTorchModel, images: Sequence[np.ndarray], preprocessing: bool) -> list[np.ndarray]:
    """Returns the images, or arrays ``(1, 3, height, width)`` for files that take preprocessed images."""
    return list(images) if preprocessing else [reference.preprocess(image)['inputs'].numpy() for image in images]


def compare_outputs(expected: Arrays, actual: Arrays, limits: dict[str, float] = EXACT) -> dict[str, float]:
    """Compares two outputs of a model for one image.

    Returns:
        dict[str, float]: For a classifier, ``scores``: the largest difference. For a segmenter, ``pixels``: the
        fraction of equal pixels. For a detector, ``instances``: the number of expected or actual instances, whichever
        is larger. If there are instances, each expected instance is paired with the actual instance of its class that
        has the highest IoU, and ``matched`` is the fraction of pairs whose IoU is at least the limit for ``boxes``,
        reduced if there are more actual than expected instances. Over the matched pairs, ``scores`` is the
        largest difference, and ``boxes`` and ``masks`` are the smallest IoUs.
    """
    if 'segmentation' in expected:
        return dict(pixels=float((expected['segmentation'] == actual['segmentation']).mean()))
    if 'boxes' not in expected:
        return dict(scores=float(np.abs(expected['scores'] - actual['scores']).max()))
    fewest, instances = sorted([len(expected['labels']), len(actual['labels'])])
    if fewest == 0:
        return dict(instances=instances, matched=0.) if instances else dict(instances=0)
    ious = box_iou(torch.from_numpy(expected['boxes']), torch.from_numpy(actual['boxes'])).nan_to_num().numpy()
    ious[expected['labels'][:, None] != actual['labels']] = 0
    # Among equal boxes, the closest score wins.
    pairs = (ious - 1e-2 * np.abs(expected['scores'][:, None] - actual['scores'])).argmax(1)
    ious = ious[np.arange(len(pairs)), pairs]
    found = ious >= limits['boxes']
    result = dict(instances=instances,
                  matched=float(found.mean()) * min(1., len(expected['labels']) / len(actual['labels'])),
                  scores=float(np.abs(expected['scores'] - actual['scores'][pairs])[found].max(initial=0)),
                  boxes=float(ious[found].min(initial=1)))
    if 'masks' in expected:
        ours, theirs = expected['masks'][found], actual['masks'][pairs][found]
        union = (ours | theirs).sum((1, 2))
        result['masks'] = float(((ours & theirs).sum((1, 2)) / union.clip(1))[union > 0].min(initial=1))
    return result


def worst(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Combines the results of :func:`compare_outputs` for several images.

    ``instances`` is the sum over the images; ``pixels`` and ``matched`` are means, ``matched`` over the images with
    instances; the other results are the worst over the images.
    """
    choose = dict(scores=max, boxes=min, masks=min, instances=sum)
    return {name: float(choose.get(name, np.mean)([figure[name] for figure in figures if name in figure]))
            for name in dict.fromkeys(name for figure in figures for name in figure)}


@torch.no_grad()
def compare_onnx(model: nn.Module, path: str | PathLike, sizes: Sequence[tuple[int, int]],
                 runtime: str | None = None) -> dict[tuple[int, int], float]:
    """Compares a file with PyTorch on random images.

    Args:
        model (nn.Module): The exported network.
        path (str | PathLike): File of :func:`export_onnx`.
        sizes (Sequence[tuple[int, int]]): Heights and widths of the images, in pixels.
        runtime (str | None): ``onnxruntime`` or ``openvino``. Defaults to None, which means ``onnxruntime``.

    Returns:
        dict[tuple[int, int], float]: For each size, the largest difference of an output, relative to the largest
        element of this output.

    Raises:
        UsageError: If the runtime is not installed.
    """
    session, (channels, names) = open_session(Path(path), runtime, 'cpu'), signature_of(model.eval())
    differences = {}
    for number, size in enumerate(sizes):
        images = torch.rand(1 + number % 2, channels, *size)
        found = session(dict(images=images.numpy()))
        differences[tuple(size)] = max(difference(torch.from_numpy(found[name]), expected)
                                       for name, expected in zip(names, as_tuple(model(images)), strict=True))
    return differences


def difference(actual: Tensor, expected: Tensor) -> float:
    """Returns the largest difference relative to the largest element; inf for different shapes, NaN or infinity."""
    if actual.shape != expected.shape or not (actual.isfinite().all() and expected.isfinite().all()):
        return float('inf')
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny))
