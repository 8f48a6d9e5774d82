"""Differences between mmdet, mmseg, mmpretrain and mmpose in testing."""
import os.path as osp

from mmengine.config import Config, ConfigDict

from ..data import ImageNetVariant
from ..errors import UsageError
from ..utils.config import VISUALIZERS, datasets_of, metrics_of

_VISUALIZATION_HOOKS = dict(mmdet='DetVisualizationHook', mmseg='SegVisualizationHook', mmpretrain='VisualizationHook',
                            mmpose='PoseVisualizationHook')

_TTA_MODELS = {
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
    'mmseg': dict(type='SegTTAModel'),
    'mmpretrain': dict(type='AverageClsScoreTTA'),
}


def draw_predictions(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Enables the framework's visualization hook for every prediction, in a window, or in a folder (mmpose)."""
    framework = cfg.default_scope
    cfg.setdefault('default_hooks', {}).setdefault('visualization', dict(type=_VISUALIZATION_HOOKS[framework]))
    cfg.setdefault('visualizer', dict(type=VISUALIZERS[framework]))
    hook = cfg.default_hooks.visualization
    hook.update(show=show, interval=1, wait_time=wait_time)
    hook['enable' if framework in ('mmpretrain', 'mmpose') else 'draw'] = True
    if framework == 'mmpose':
        hook.out_dir = show_dir


def add_class_figures(cfg: Config) -> None:
    """Adds average precision or accuracy by class, and a confusion matrix in the work dir; mmseg has IoU by class."""
    types = []
    for metric in metrics_of(cfg, 'test'):
        types.append(metric['type'])
        if metric['type'] == 'CocoMetric':
            metric['classwise'] = True
    if cfg.default_scope == 'mmpretrain' and 'Accuracy' in types:
        add_metric(cfg, type='PerClassAccuracy', out_file=osp.join(cfg.work_dir, 'confusion_matrix.png'))


def save_predictions(cfg: Config, out: str) -> None:
    """Makes the framework save its predictions: mmseg label images in a folder, the others a pickle file."""
    if cfg.default_scope == 'mmseg':
        for metric in metrics_of(cfg, 'test'):
            metric.output_dir = out
        return
    if not out.endswith(('.pkl', '.pickle')):
        raise UsageError(f'out must end with .pkl or .pickle, got {out}')
    add_metric(cfg, type='DumpDetResults' if cfg.default_scope == 'mmdet' else 'DumpResults', out_file_path=out)


def use_real(cfg: Config, label_file: str) -> None:
    """Adds accuracy on ImageNet's reassessed labels (:class:`ImageNetReaL`)."""
    _check_imagenet(cfg, 'label_file')
    add_metric(cfg, type='ImageNetReaL', label_file=label_file, topk=(1, 5))


def use_imagenet_variant(cfg: Config, folder: str) -> None:
    """Sets the test data of an ImageNet classifier to ImageNet-V2, -A, -R, -Sketch or -C (:class:`ImageNetVariant`)."""
    _check_imagenet(cfg, 'ImageNetVariant')
    try:
        ImageNetVariant(folder, lazy_init=True).load_data_list()
    except ValueError as error:
        raise UsageError(str(error)) from None
    for dataset in datasets_of(cfg, 'test'):
        pipeline = dataset.pipeline
        dataset.clear()
        dataset.update(type='ImageNetVariant', data_root=folder, pipeline=pipeline)
    cfg.test_evaluator = [ConfigDict(type='ImageNetVariantAccuracy')]


def add_metric(cfg: Config, **metric) -> None:
    """Adds a metric, replacing one of the same type."""
    others = [other for other in metrics_of(cfg, 'test') if other['type'] != metric['type']]
    cfg.test_evaluator = [*others, ConfigDict(metric)]


def _check_imagenet(cfg: Config, option: str) -> None:
    types = {leaf['type'] for leaf in datasets_of(cfg, 'test')}
    if types != {'ImageNet'}:
        raise UsageError(f'{option} needs a classifier of ImageNet, the config tests on {", ".join(sorted(types))}')


def use_tta(cfg: Config) -> None:
    """Enables test-time augmentation of the config, or averages the image and its mirror image."""
    framework = cfg.default_scope
    if framework == 'mmpose':
        raise UsageError('test-time augmentation: model.test_cfg.flip_test does it for pose estimators')
    datasets = datasets_of(cfg, 'test')
    if framework == 'mmdet' and 'tta_model' not in cfg and 'mask_head' in cfg.model.get('roi_head', {}):
        raise UsageError('test-time augmentation: mmdet merges boxes only and this model predicts masks; '
                         'a config with a tta_model of its own can be tested')
    if framework == 'mmpretrain' and cfg.get('default_hooks', {}).get('visualization', {}).get('enable'):
        raise UsageError('test-time augmentation: mmpretrain draws single images only; turn its visualization off')
    tta_model = cfg.get('tta_model') or _TTA_MODELS[framework]
    pipeline = cfg.get('tta_pipeline') or _mirror_pipeline(datasets[0].pipeline, framework)
    for dataset in datasets:
        dataset.pipeline = pipeline
    cfg.model = ConfigDict(**tta_model, module=cfg.model)


def _mirror_pipeline(pipeline: list[dict], framework: str) -> list[dict]:
    *steps, pack = pipeline
    annotations = [step for step in steps if step['type'].endswith('LoadAnnotations')]
    if framework == 'mmdet' and 'meta_keys' in pack:
        pack = dict(pack, meta_keys=(*pack['meta_keys'], 'flip', 'flip_direction'))
    # The image itself comes first, as mmseg takes the ground truth, which stays as it is, from the first.
    flips = [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)]
    views = dict(type='TestTimeAug', transforms=[flips, *([step] for step in annotations), [pack]])
    return [*(step for step in steps if step not in annotations), views]
