"""Evaluates a model that takes whole images, such as an exported file, on the test set of a config."""
import os.path as osp
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

from mmvit_backbones.utils.classes import check_labels, classes_of

from .. import frameworks
from ..folders.images import read_rgb
from ..frameworks.building import use_framework
from ..predictions.mistakes import add_mistakes
from ..running.work_dir import folder_of_mistakes
from .runtimes import Arrays

Model = Callable[[list[np.ndarray]], Sequence[Arrays]]


def evaluate(cfg: Config, run: Model, classes: Sequence[str] = (), source: str = 'the model') -> dict[str, float]:
    """Returns the metrics of a model on the test set of a config.

    The model gets each image file as a whole; the annotations come from the test pipeline. mmdet's metrics are from 0
    to 1, those of mmseg and mmpretrain in percent.

    Args:
        cfg (Config): Config with a ``test_dataloader`` and a ``test_evaluator``.
        run (Callable): Takes a list of RGB images ``(height, width, 3)`` in uint8, and returns the outputs of each, as
            ``Predictor.model.run``: ``scores (classes,)``; ``segmentation (height, width)``; or ``labels (N,)``,
            ``scores (N,)``, ``boxes (N, 4)`` in pixels of the image and perhaps ``masks (N, height, width)``.
        classes (Sequence[str]): The model's classes, by label. Defaults to (), for unknown ones.
        source (str): Name of the model for the message. Defaults to ``'the model'``.

    Raises:
        UsageError: If a label means one class in the model and another in the test set, or an image cannot be read.
    """
    use_framework(cfg.default_scope)
    loader: Any = Runner.build_dataloader({**cfg.test_dataloader, 'num_workers': 0, 'persistent_workers': False})
    check_labels(classes, classes_of(loader.dataset.metainfo), source, 'the test data', 'test on data with the same '
                 'classes in the same order')
    evaluator, add_prediction = Evaluator(cfg.test_evaluator), frameworks.of(cfg).add_prediction
    mistakes = add_mistakes(cfg, evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        for sample in batch['data_samples']:
            outputs, = run([np.array(read_rgb(sample.img_path))])
            add_prediction(sample, outputs)
        evaluator.process(batch['data_samples'], batch)
    metrics = evaluator.evaluate(len(loader.dataset))
    if mistakes:
        mistakes.write(folder_of_mistakes(cfg.work_dir), osp.basename(source))
        print(*mistakes.lines, sep='\n')
    return metrics
