"""Computes the metric of a config's test set for a model that takes whole images, such as an exported file."""
import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from ..utils.config import datasets_of
from .runtimes import Arrays

MAIN_METRICS = 'bbox_mAP', 'mIoU', 'top1'  # endings of the metrics' names
STEPS = 'LoadImageFromFile', 'LoadAnnotations', 'Inputs'  # endings of the test pipeline steps that exported files need


def metric_of(cfg: Config, run: Callable[[list[np.ndarray]], Sequence[Arrays]]) -> dict:
    """Returns the name and the value of the main metric of a config's test set.

    Args:
        cfg (Config): Config with a test set and an evaluator.
        run (Callable): Takes a list of RGB images and returns the outputs of each, as ``Predictor.model.run``.
    """
    cfg = copy.deepcopy(cfg)
    use_whole_images(cfg)
    cfg.test_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False)
    init_default_scope(cfg.default_scope)
    loader: Any = Runner.build_dataloader(cfg.test_dataloader)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        evaluator.process(add_predictions(run, batch['inputs'], batch['data_samples']), batch)
    found = evaluator.evaluate(len(loader.dataset))
    name = next(name for name in found if name.endswith(MAIN_METRICS))
    return dict(metric=name, value=float(found[name]))


def add_predictions(run: Callable[[list[np.ndarray]], Sequence[Arrays]], inputs: Iterable[Tensor],
                    data_samples: list) -> list:
    """Adds the outputs of a model for BGR images ``(3, height, width)``, uint8, to their data samples."""
    for image, sample in zip(inputs, data_samples):
        outputs, = run([np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])])
        values = {name: torch.from_numpy(value) for name, value in outputs.items()}
        if 'boxes' in values:
            sample.pred_instances = InstanceData(metainfo=None, bboxes=values.pop('boxes'), **values)
        elif 'segmentation' in values:
            sample.pred_sem_seg = PixelData(data=values['segmentation'][None])
        else:
            sample.set_pred_score(values['scores']).set_pred_label(values['scores'].argmax())
    return data_samples


def use_whole_images(cfg: Config) -> None:
    """Removes the preprocessing from the test pipeline of a config."""
    cfg.test_dataloader.collate_fn = dict(type='pseudo_collate')
    for dataset in datasets_of(cfg, 'test'):
        dataset['pipeline'] = [step for step in dataset['pipeline'] if step['type'].endswith(STEPS)]
