"""Tests exported files by the metrics of the frameworks."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from ..utils.config import datasets_of
from .predictor import open_model

STEPS = 'LoadImageFromFile', 'LoadAnnotations', 'Inputs'  # of a test pipeline: the file itself does the others


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Runs a file of ``tools/export.py`` in place of a framework's model, one image after the other.

    Args:
        path (str): ``.onnx`` or ``.pt2``.
        trust_code (bool): See :class:`Predictor`.
    """

    def __init__(self, path: str, trust_code: bool = False) -> None:
        super().__init__()
        self.model = open_model(path, trust_code=trust_code)

    def forward(self, inputs: Sequence[torch.Tensor], data_samples: Sequence[BaseDataElement],
                mode: str = 'predict') -> Sequence[BaseDataElement]:
        """Fills in the predictions for images ``(3, height, width)`` in BGR uint8."""
        for image, sample in zip(inputs, data_samples):
            outputs, = self.model.run([np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])])
            values = {name: torch.from_numpy(value) for name, value in outputs.items()}
            if self.model.task == 'classification':
                sample.set_pred_score(values['scores']).set_pred_label(values['scores'].argmax())
            elif self.model.task == 'segmentation':
                sample.pred_sem_seg = PixelData(data=values['segmentation'][None])
            else:
                sample.pred_instances = InstanceData(bboxes=values.pop('boxes'), **values)
        return data_samples


def is_exported(path: str | None) -> bool:
    """Returns whether a path is that of an exported file."""
    return bool(path) and path.endswith(('.onnx', '.pt2'))


def use_exported(cfg: Config, path: str, trust_code: bool = False) -> None:
    """Replaces the model of a config by an exported file, which takes images as they are read."""
    cfg.model = ConfigDict(type='ExportedModel', path=str(Path(path)), trust_code=trust_code)
    cfg.pop('data_preprocessor', None)
    cfg.test_dataloader.collate_fn = dict(type='pseudo_collate')
    for dataset in datasets_of(cfg, 'test'):
        dataset.pipeline = [step for step in dataset.pipeline if step['type'].endswith(STEPS)]
