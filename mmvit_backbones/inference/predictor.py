"""Predicts images with checkpoints and with exported files."""
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ..accelerate import accelerate as accelerate_model
from ..errors import UsageError, first_line
from ..utils.config import is_config, load_config
from ..utils.files import check_file
from ..zoo.checks import check_backbone, choose_checkpoint
from ..zoo.loading import GIVE_CONFIG, described_config, read_checkpoint
from .limits import TIMEOUT
from .results import SCORE_THR, Result, result_of
from .runtimes import EXPORTED_SUFFIXES, Arrays, Checkpoint, OnnxFile, Pt2File, find_device
from .sources import Frame, read_frames


class Predictor:
    """A model that predicts images: ``Predictor('epoch_12.pth')('image.jpg')``.

    Args:
        source (str | Path): A checkpoint of a training; a config file or the name of a config, with ``checkpoint`` or
            ``pretrained``; or a file of ``mmvit export``: ``.onnx`` or ``.pt2``.
        config (str | None): Config file of a checkpoint, or the name of a config. Defaults to None: the config in the
            checkpoint.
        checkpoint (str | None): Weights for a config: a file or an address.
        pretrained (bool | str): True for the authors' weights for a config, or their tag. Defaults to False.
        device (str | torch.device | None): Device for a checkpoint or an ONNX file, which needs onnxruntime-gpu for a
            GPU. Defaults to None: a GPU if one can be used. ``.pt2`` files run on the CPU.
        accelerate (bool): Whether to replace modules of a checkpoint's model by faster ones with the same results.
            Defaults to True.
        trust_code (bool): Whether to load a ``.pt2`` file, which is code that runs with the rights of this process. The
            other files contain no code. Defaults to False.
        timeout (float): Seconds allowed for the prediction of an image by a checkpoint or an ONNX file.

    Attributes:
        task (str): ``classification``, ``detection``, ``segmentation`` or ``pose``.
        classes (list[str]): Names of the classes; empty if the file has none.
        palette (list): Colors of the classes in RGB; empty if the file has none.
        model (Checkpoint | Exported): ``model.run(images)`` returns arrays for images ``(height, width, 3)`` in RGB
            uint8; ``model.details`` has ``classes``, ``palette`` and the other details of an exported file;
            ``model.runtime`` is ``eager``, ``onnxruntime``, ``pt2`` or ``aoti``.

    Raises:
        UsageError: If a file is missing, does not match its suffix, or is code without ``trust_code``, or if the device
            cannot be used.
    """

    def __init__(self, source: str | Path, config: str | None = None, checkpoint: str | None = None,
                 pretrained: bool | str = False, device: str | torch.device | None = None, accelerate: bool = True,
                 trust_code: bool = False, timeout: float = TIMEOUT) -> None:
        suffix = Path(source).suffix.lower()
        if suffix in EXPORTED_SUFFIXES:
            refuse(f'{source}, which contains config and weights',
                   config=config, checkpoint=checkpoint, pretrained=pretrained)
            check_file(source, 'model')
            path = Path(source)
            self.model = (OnnxFile(path, device, timeout) if suffix == '.onnx' else
                          Pt2File(path, trust_code, device))
        else:
            if is_config(str(source)):
                refuse(f'{source}, which is a config', config=config)
                config = str(source)
            else:
                refuse(f'{source}, which is a checkpoint', checkpoint=checkpoint)
                checkpoint = str(source)
            cfg = config_of(config, checkpoint)
            check_backbone(cfg)
            self.model = Checkpoint(cfg, choose_checkpoint(cfg, checkpoint, pretrained), find_device(device),
                                    timeout)
            if accelerate:
                accelerate_model(self.model.module, inference=True)
        self.task, details = self.model.task, self.model.details
        self.classes, self.palette = list(details['classes']), [tuple(color) for color in details['palette']]

    def __call__(self, images: object, batch_size: int = 1, score_thr: float = SCORE_THR) -> list[Result]:
        """Predicts images.

        Args:
            images (object): One or several files, folders, http(s) addresses, videos, camera numbers, contents of files
                as bytes, open files, Pillow images, or arrays ``(height, width, 3)`` in RGB uint8. Folders are searched
                recursively.
            batch_size (int): Number of images that run together if they have the same shape. Defaults to 1.
            score_thr (float): Minimum score of objects; 0 returns all that the model finds.

        Returns:
            list[Result]: A Classification, Detection, Segmentation or Pose for each image.

        Raises:
            UsageError: If an image cannot be read, or has a size that the model does not support.
        """
        results = []
        for frame, result in self.stream(images, batch_size, score_thr):
            if result is None:
                raise UsageError(frame.error)
            results.append(result)
        return results

    def stream(self, images: object, batch_size: int = 1, score_thr: float = SCORE_THR
               ) -> Iterator[tuple[Frame, Result | None]]:
        """Yields images and their results one by one, for folders and videos of any length.

        If an image cannot be read or predicted, its result is None, and ``frame.error`` is the reason.
        """
        if batch_size < 1:
            raise UsageError(f'batch_size must be at least 1, got {batch_size}')
        frames = read_frames(images)
        while batch := list(islice(frames, batch_size)):
            outputs = iter(self._run([frame.image for frame in batch if frame.image is not None]))
            for frame in batch:
                if frame.image is None:
                    yield frame, None
                    continue
                output = next(outputs)
                if isinstance(output, UsageError):
                    yield frame._replace(error=f'image {frame.name}: {first_line(output)}'), None
                else:
                    yield frame, result_of(output, frame.name, frame.image, self.classes, self.palette, score_thr)

    def _run(self, images: list[np.ndarray]) -> Sequence[Arrays | UsageError]:
        """Returns the outputs for each image; if a batch fails, its images run one by one, with an error for each."""
        try:
            return self.model.run(images) if images else []
        except UsageError as error:
            return [error] if len(images) == 1 else [output for image in images for output in self._run([image])]


def refuse(source: str, **arguments: object) -> None:
    """Raises UsageError if one of the arguments is given that are not allowed with the source."""
    for name, value in arguments.items():
        if value:
            raise UsageError(f'{name} {value} cannot be given with {source}')


def config_of(config: str | None, checkpoint: str | None) -> Config:
    """Loads a config, or builds one from the allowed parts of the config in a checkpoint."""
    if config:
        return load_config(config, needs=('model', 'test_dataloader'))
    if checkpoint is None:
        raise UsageError('give a config or a checkpoint')
    state = read_checkpoint(checkpoint, mmap=True)
    cfg = Config(described_config(state, state.get('meta', {}).get('cfg'), checkpoint))
    if 'test_dataloader' not in cfg:
        raise UsageError(f'the config in checkpoint {checkpoint} has no test_dataloader; {GIVE_CONFIG}')
    return cfg
