"""Runs checkpoints and exported models on images."""
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.reading import find_checkpoint

from ..configs.official import source_of
from ..naming import path_hint, resolve
from ..predictions.mistakes import SCORE
from ..predictions.results import SCORE_THR, Result, result_of
from ..running.run_folder import RunFolder
from .runtimes import Exported, PyTorchModel, find_device
from .sources import read_images


class Predictor:
    """Runs a trained model on images: ``Predictor('epoch_12.pth')('image.jpg')``.

    Args:
        source (str | Path): A checkpoint, or the work dir of a training, for its best checkpoint; a config file or the
            name of a config, together with ``checkpoint`` or ``pretrained``; or a model exported by ``mmvit export``
            (``.onnx``).
        config (str | None): Config for a checkpoint: a file or the name of a config. Defaults to None, which uses the
            one inside the checkpoint.
        checkpoint (str | None): Checkpoint for a config: a file or a URL.
        pretrained (bool | str): True to load the authors' weights for a config, or the tag of other published weights.
            Defaults to False.
        device (str | torch.device | None): Device for checkpoints and ONNX files. ONNX files run on a GPU only with
            onnxruntime-gpu. Defaults to None, which uses a GPU if possible.
        runtime (str | None): Runtime of an ONNX file: ``onnxruntime`` or ``openvino``. Defaults to None, which means
            ``onnxruntime``.

    Attributes:
        task (str): ``classification``, ``detection`` or ``segmentation``.
        classes (list[str]): Names of the classes; empty if the model has none.
        palette (list): RGB color of each class; empty if the model has none.
        category_ids (list[int] | None): Ids of the classes in the COCO file of the training, if it was of a folder.
        score_thr (float): Minimum score of objects for labels: that of the best F1 in the last validation of the
            training, or 0.3.
        model (PyTorchModel | Exported): ``model.run(images)`` takes RGB uint8 images ``(height, width, 3)`` and
            returns a dict of output arrays per image. ``model.details`` has ``classes``, ``palette`` and other
            metadata. ``model.runtime`` is ``eager``, ``onnxruntime`` or ``openvino``.

    Raises:
        CheckpointError: If a checkpoint is missing, unavailable or invalid, or does not match the model.
        UsageError: If another file is missing or invalid, if the arguments cannot be combined, if a required package
            is not installed, or if the device cannot be used.
    """

    def __init__(self, source: str | Path, config: str | None = None, checkpoint: str | None = None,
                 pretrained: bool | str = False, device: str | torch.device | None = None,
                 runtime: str | None = None) -> None:
        kind = resolve(str(source), 'predict')
        if kind == 'exported':
            refuse(f'{source}, which contains its config and weights',
                   config=config, checkpoint=checkpoint, pretrained=pretrained)
            self.model = Exported(Path(source), runtime, device)
        else:
            refuse(f'{source}, which is not an exported file: it runs with PyTorch; use mmvit export first',
                   runtime=runtime)
            if kind == 'config':
                refuse(f'{source}, which is a config', config=config)
                if not checkpoint and not pretrained:
                    raise UsageError(f'{source} is a config, which needs checkpoint or pretrained'
                                     f'{path_hint(str(source))}')
                config = str(source)
            else:
                refuse(f'{source}, which is a checkpoint', checkpoint=checkpoint)
                checkpoint = config and find_checkpoint(str(source))
            run = RunFolder.open(config or str(source), ('model', 'test_dataloader'), mmap=False)
            self.model = PyTorchModel(run.config, source_of(run.config, checkpoint or run.file, pretrained),
                                      find_device(device), run.checkpoint)
        self.task, details = self.model.task, self.model.details
        self.classes, self.palette = list(details['classes']), [tuple(color) for color in details['palette']]
        self.category_ids, self.score_thr = details.get('category_ids'), details.get(SCORE, SCORE_THR)

    def __call__(self, images: object, batch_size: int = 1, score_thr: float = SCORE_THR) -> list[Result]:
        """Runs the model on images and returns all results.

        Args:
            images (object): One or more files, folders, encoded images as bytes or binary file objects, Pillow
                images, or RGB uint8 arrays ``(height, width, 3)``. Folders are searched recursively.
            batch_size (int): Number of images per batch. A batch of several shapes runs image by image. Defaults to 1.
            score_thr (float): Minimum score of detected objects. Defaults to 0.3.

        Returns:
            list[Result]: One Classification, Detection or Segmentation per image.

        Raises:
            UsageError: If ``batch_size`` is less than 1, an element of ``images`` has an unsupported type, or an image
                cannot be read or processed.
        """
        return list(self.stream(images, batch_size, score_thr))

    def stream(self, images: object, batch_size: int = 1, score_thr: float = SCORE_THR) -> Iterator[Result]:
        """Yields what calls return, so that memory does not grow with the frames of a film; raises as they do.

        Args:
            images, batch_size, score_thr: As for calls; ``images`` may be a generator.
        """
        if batch_size < 1:
            raise UsageError(f'batch_size must be at least 1, got {batch_size}')
        read = read_images(images)
        while batch := list(islice(read, batch_size)):
            try:
                outputs = self.model.run([image for _, image in batch])
            except UsageError as error:
                raise UsageError(f'image {", ".join(name for name, _ in batch)}: {error}') from error
            for output, (name, image) in zip(outputs, batch):
                yield result_of(output, name, image, self.classes, self.palette, score_thr)


def refuse(source: str, **arguments: object) -> None:
    """Raises UsageError if any of ``arguments``, which are not allowed with ``source``, is set."""
    for name, value in arguments.items():
        if value:
            raise UsageError(f'{name}={value} cannot be used with {source}')
