"""Adds metrics, drawings, test-time augmentation and exported files to the config of a test."""
import os.path as osp
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from PIL import Image

from ..errors import UsageError
from ..inference import Predictor
from ..inference.metric import add_predictions, use_whole_images
from ..inference.results import result_of
from ..inference.runtimes import EXPORTED_SUFFIX, Arrays, arrays_of, palette_of
from ..utils.config import VISUALIZERS, datasets_of, metrics_of, predicts_masks
from ..zoo.checks import is_readable
from ..zoo.loading import read_checkpoint

VISUALIZATION_HOOKS = dict(mmdet='DetVisualizationHook', mmseg='SegVisualizationHook', mmpretrain='VisualizationHook')

TTA_MODELS = {
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
    'mmseg': dict(type='SegTTAModel'),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}
PICKLES = '.pkl', '.pickle'


def draw_predictions(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Enables the framework's visualization hook for all predictions."""
    framework = cfg.default_scope
    cfg.setdefault('default_hooks', {})
    cfg.default_hooks.setdefault('visualization', dict(type=VISUALIZATION_HOOKS[framework]))
    cfg.setdefault('visualizer', dict(type=VISUALIZERS[framework]))
    hook = cfg.default_hooks.visualization
    hook.update(show=show, interval=1, wait_time=wait_time)
    hook['enable' if framework == 'mmpretrain' else 'draw'] = True


def add_class_figures(cfg: Config) -> None:
    """Adds AP or accuracy per class, and for classifiers a confusion matrix; mmseg always prints IoU per class."""
    types = []
    for metric in metrics_of(cfg, 'test'):
        types.append(metric['type'])
        if metric['type'] == 'CocoMetric':
            metric['classwise'] = True
    if cfg.default_scope == 'mmpretrain' and 'Accuracy' in types:
        add_metric(cfg, type='PerClassAccuracy', out_file=osp.join(cfg.work_dir, 'confusion_matrix.png'))


def save_predictions(cfg: Config, out: str) -> None:
    """Makes the test save its predictions: label images in a folder for mmseg, a pickle file for other frameworks."""
    if cfg.default_scope == 'mmseg':
        for metric in metrics_of(cfg, 'test'):
            metric['output_dir'] = out
        return
    if not out.endswith(PICKLES):
        raise UsageError(f'--out must end with .pkl or .pickle, got {out}')
    add_metric(cfg, type='DumpDetResults' if cfg.default_scope == 'mmdet' else 'DumpResults', out_file_path=out)


def use_real(cfg: Config, label_file: str) -> None:
    """Adds a metric for the accuracy on ImageNet's reassessed labels (:class:`ImageNetReaL`)."""
    types = {leaf['type'] for leaf in datasets_of(cfg, 'test')}
    if types != {'ImageNet'}:
        raise UsageError(f'--real requires a config that tests on ImageNet, got {", ".join(sorted(types))}')
    add_metric(cfg, type='ImageNetReaL', label_file=label_file, topk=(1, 5))


def add_metric(cfg: Config, **metric) -> None:
    """Adds a metric to the test, replacing a metric of the same type."""
    others = [other for other in metrics_of(cfg, 'test') if other['type'] != metric['type']]
    cfg.test_evaluator = [*others, ConfigDict(metric)]


def check_classes(cfg: Config, filename: str) -> None:
    """Raises UsageError if test data and checkpoint have the same classes in different orders."""
    meta = read_checkpoint(filename, mmap=True).get('meta', {}) if is_readable(filename) else {}
    trained = tuple((meta.get('dataset_meta') or {}).get('classes') or ())
    for dataset in datasets_of(cfg, 'test'):
        classes = tuple((dataset.get('metainfo') or {}).get('classes') or ())
        if classes != trained and set(classes) == set(trained):
            raise UsageError(f'checkpoint {filename} was trained with the classes {trained}, but the test data have '
                             f'{classes}; use the same order')


def use_tta(cfg: Config) -> None:
    """Enables test-time augmentation: the config's, or by default the image and its mirror image.

    Raises:
        UsageError: If the framework cannot merge the predictions: masks of mmdet, and drawings of mmpretrain.
    """
    framework = cfg.default_scope
    datasets = datasets_of(cfg, 'test')
    if framework == 'mmdet' and 'tta_model' not in cfg and predicts_masks(cfg.model):
        raise UsageError('test-time augmentation of mmdet merges only boxes, but this model predicts masks; set '
                         'tta_model in the config')
    if framework == 'mmpretrain' and cfg.get('default_hooks', {}).get('visualization', {}).get('enable'):
        raise UsageError('test-time augmentation of mmpretrain does not support drawing; omit --show, and '
                         'do not enable VisualizationHook')
    tta_model = cfg.get('tta_model') or TTA_MODELS[framework]
    pipeline = cfg.get('tta_pipeline') or mirror_pipeline(datasets[0]['pipeline'], framework)
    for dataset in datasets:
        dataset['pipeline'] = pipeline
    cfg.model = ConfigDict(**tta_model, module=cfg.model)


def mirror_pipeline(pipeline: list[dict], framework: str) -> list[dict]:
    *steps, pack = pipeline
    annotations = [step for step in steps if step['type'].endswith('LoadAnnotations')]
    if framework == 'mmdet' and 'meta_keys' in pack:
        pack = dict(pack, meta_keys=(*pack['meta_keys'], 'flip', 'flip_direction'))
    # mmseg takes the ground truth from the first view, so the first view must not be flipped.
    flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    views = dict(type='TestTimeAug', transforms=[flips, *([step] for step in annotations), [pack]])
    return [*(step for step in steps if step not in annotations), views]


# ---- exported files


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Runs an exported file in place of a framework's model, one image at a time.

    Args:
        path (str): File written by ``mmvit export``.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.model = Predictor(path).model

    def forward(self, inputs, data_samples: list | None = None, mode: str = 'predict') -> list:
        """Adds the predictions for BGR images ``(3, height, width)``, uint8, to their data samples."""
        return add_predictions(self.model.run, inputs, data_samples or [])


def is_exported(path: str | None) -> bool:
    """Returns whether a path has the suffix of an exported file."""
    return path is not None and path.lower().endswith(EXPORTED_SUFFIX)


def use_exported(cfg: Config, path: str) -> None:
    """Replaces the model of a config with an exported file, which includes the preprocessing."""
    cfg.model = ConfigDict(type='ExportedModel', path=str(Path(path)))
    cfg.pop('data_preprocessor', None)
    use_whole_images(cfg)


# ---- drawings


class DrawingHook(Hook):
    """Draws the annotations, if there are any, to the left of the predictions.

    Drawings have the same relative paths as the images in the data set, but the suffix .png.

    Args:
        out_dir (str): Folder for the drawings.
        score_thr (float): Minimum score of drawn objects.
    """

    def __init__(self, out_dir: str, score_thr: float) -> None:
        self.out_dir, self.score_thr = Path(out_dir), score_thr

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch=None,
                        outputs: Sequence[BaseDataElement] | None = None) -> None:
        import mmcv
        metainfo, root = metainfo_and_root(runner.test_dataloader.dataset)
        classes, palette = [*map(str, metainfo.get('classes') or ())], palette_of(metainfo)
        for sample in outputs or ():
            image = mmcv.imread(sample.get('img_path'), channel_order='rgb')
            name = osp.relpath(sample.get('img_path'), root)
            path = self.out_dir / (osp.basename(name) if name.startswith('..') else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = np.hstack([np.array(result_of(found, name, image, classes, palette, self.score_thr).draw())
                               for found in (annotated(sample), arrays_of(sample)) if found])
            Image.fromarray(drawn).save(path.with_suffix('.png'))


def metainfo_and_root(dataset: Any) -> tuple[dict, str]:
    """Returns the metainfo and the root folder of a data set; the root folder defaults to the current folder."""
    return dataset.metainfo, getattr(dataset, 'data_root', None) or '.'


def annotated(sample: BaseDataElement) -> Arrays:
    """Returns a sample's annotations in the format of :func:`arrays_of`, with scores of 1, or an empty dict.

    For classifiers, the dict also has the indices of the classes as ``labels``.
    """
    if 'gt_label' in sample:
        labels = sample.get('gt_label').cpu().numpy()
        return dict(labels=labels, scores=np.ones(len(labels), np.float32))
    if 'gt_sem_seg' in sample:
        return dict(segmentation=sample.get('gt_sem_seg').data[0].cpu().numpy())
    found = sample.get('gt_instances')
    if found is None or 'bboxes' not in found:
        return {}
    boxes = getattr(found.bboxes, 'tensor', found.bboxes).cpu().numpy()
    result = dict(labels=found.labels.cpu().numpy(), scores=np.ones(len(boxes), np.float32), boxes=boxes)
    if 'masks' in found:
        result['masks'] = found.masks.to_ndarray().astype(bool)
    return result
