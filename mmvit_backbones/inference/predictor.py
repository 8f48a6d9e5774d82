"""Predicts and draws single images."""
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, VISUALIZERS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import UsageError, first_line
from ..utils.config import VISUALIZERS as VISUALIZER_TYPES
from ..utils.config import config_of_checkpoint, datasets_of, load_config
from ..utils.file_configs import import_quietly
from ..utils.images import SUFFIXES, check_image
from ..zoo.loading import load_from_safe, load_weights, read_checkpoint

_THRESHOLDS = dict(mmdet='pred_score_thr', mmpose='kpt_thr')


def find_config(config: str | None, checkpoint: str | None) -> Config:
    """Returns the config of a file, or the one in a checkpoint of a training."""
    if config:
        return load_config(config, needs=('model', 'test_dataloader'))
    return config_of_checkpoint(read_checkpoint(checkpoint, mmap=True), checkpoint)


def find_images(paths: Sequence[str]) -> list[Path]:
    """Returns the image files among files and folders."""
    images = []
    for path in map(Path, paths):
        if not path.exists():
            raise UsageError(f'image {path} does not exist')
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise UsageError(f'folder {path} has no image; allowed are {", ".join(SUFFIXES)}')
        images += found
    return images


def plan_drawings(images: Sequence[Path], out_dir: str) -> dict[Path, Path]:
    """Creates the folder and returns the output file of each image file."""
    drawings = {image: Path(out_dir, f'{image.stem}.png') for image in images}
    (drawing, count), = Counter(drawings.values()).most_common(1)
    if count > 1:
        raise UsageError(f'two images would be drawn into {drawing}; give them different names')
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'out_dir {out_dir} cannot be created: {error}') from error
    return drawings


def find_device(name: str | None) -> str | torch.device:
    """Returns the device of that name, or the best available one."""
    if not name:
        return get_device()
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f'device {name} cannot be used: {first_line(error)}') from error


class Predictor:
    """A model with its pipeline and visualizer; ``checkpoint`` may be an authors' classifier."""

    def __init__(self, cfg: Config, checkpoint: str, device: str | torch.device) -> None:
        self.framework = cfg.default_scope
        import_quietly(self.framework)
        init_default_scope(self.framework)
        state = load_from_safe(checkpoint, map_location='cpu')
        self.model = build_model(cfg)
        load_weights(self.model, state, checkpoint)
        self.model.to(device).eval()
        dataset = datasets_of(cfg, 'test')[0]
        steps = [step for step in dataset.pipeline if not step['type'].endswith('LoadAnnotations')]
        self.pipeline = Compose(steps)
        self.collate = default_collate if self.framework == 'mmpretrain' else pseudo_collate
        self.visualizer = VISUALIZERS.build(dict(type=VISUALIZER_TYPES[self.framework], name='predictions'))
        # The names of the classes; of the data set, no files are read.
        metainfo = DATASETS.build(dict(dataset, lazy_init=True)).metainfo
        meta = {**metainfo, **state.get('meta', {}).get('dataset_meta', {})}
        if self.framework == 'mmpose':
            self.visualizer.set_dataset_meta(meta)
        self.visualizer.dataset_meta = meta

    @torch.no_grad()
    def predict(self, path: Path) -> BaseDataElement:
        """Returns the framework's data sample for an image file; raises UsageError if it cannot be read."""
        width, height = check_image(path).size
        info = dict(img_path=str(path), img_id=0)
        if self.framework == 'mmpose':  # the image is one animal's box
            box = np.array([[0, 0, width, height]], dtype=np.float32)
            info.update(bbox=box, bbox_score=np.ones(1, dtype=np.float32), **self.visualizer.dataset_meta)
        try:
            data = self.pipeline(info)
        # A pipeline can fail in any way.
        except Exception as error:
            raise UsageError(f'image {path} cannot be read: {first_line(error)}') from error
        return self.model.test_step(self.collate([data]))[0]

    @torch.no_grad()
    def predict_array(self, image: np.ndarray) -> BaseDataElement:
        """Returns the framework's data sample for an image (height, width, 3) in RGB uint8."""
        bgr, size = np.ascontiguousarray(image[..., ::-1]), image.shape[:2]
        data = dict(img=bgr, img_shape=size, ori_shape=size, img_path='', img_id=0)
        for transform in self.pipeline.transforms[1:]:  # all but the first, which reads a file
            data = transform(data)
        return self.model.test_step(self.collate([data]))[0]

    def describe(self, sample: BaseDataElement) -> str:
        """Returns the most likely classes of a classifier's prediction as text, else ''."""
        if self.framework != 'mmpretrain':
            return ''
        classes = self.visualizer.dataset_meta.get('classes') or range(len(sample.pred_score))
        scores, indices = sample.pred_score.topk(min(5, len(sample.pred_score)))
        return ', '.join(f'{classes[i]} {score:.1%}' for score, i in zip(scores.tolist(), indices.tolist()))

    def draw(self, path: Path, sample: BaseDataElement, out_file: Path, score_thr: float) -> None:
        """Draws a prediction over an image file and saves it."""
        import mmcv
        image = mmcv.imread(str(path), channel_order='rgb')
        name, out_file = Path(path).stem, str(out_file)
        if self.framework == 'mmpretrain':
            classes = self.visualizer.dataset_meta.get('classes')
            self.visualizer.visualize_cls(image, sample, classes, draw_gt=False, out_file=out_file, name=name)
            return
        threshold = {_THRESHOLDS[self.framework]: score_thr} if self.framework in _THRESHOLDS else {}
        self.visualizer.add_datasample(name, image, sample, draw_gt=False, out_file=out_file, **threshold)


def build_model(cfg: Config) -> nn.Module:
    """Builds the model of a config, for one process."""
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return revert_sync_batchnorm(MODELS.build(cfg.model))
