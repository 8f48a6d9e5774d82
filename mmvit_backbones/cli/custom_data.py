"""Changes a config to use the data of a folder, or another root folder for its own data set."""
import argparse
import os.path as osp

from mmengine.config import Config

from ..data import FolderData, read_class_folder, read_coco_folder, read_seg_folder
from ..errors import UsageError
from ..utils.config import LOADERS, datasets_of, dicts_in, predicts_masks

SPLITS = (('train', 'train'), ('val', 'val'), ('test', 'val'))  # split of the config, part of the custom data
KINDS = dict(class_folder=('mmpretrain', read_class_folder), coco_folder=('mmdet', read_coco_folder),
             seg_folder=('mmseg', read_seg_folder))


def use_custom_data(cfg: Config, class_folder: str | None = None, coco_folder: str | None = None,
                    seg_folder: str | None = None, data_root: str | None = None, val_fraction: float | None = None,
                    split_seed: int = 0, list_folder: str | None = None,
                    content: bool = True) -> None:
    """Changes a config to use the data in a folder, after checking the folder.

    Prints the numbers of files that are used and left out. Without a folder, the config is not changed.

    Args:
        cfg (Config): Config to change in place.
        class_folder, coco_folder, seg_folder, data_root (str | None): Folder with the data; pass at most one.
            ``docs/tools.md`` describes the four layouts.
        val_fraction (float | None): Fraction of the images for validation if the folder has no split.
        split_seed (int): Seed of the split by ``val_fraction``. Defaults to 0.
        list_folder (str | None): Folder for generated lists of images and annotation files. Defaults to a temporary
            folder that is removed at exit.
        content (bool): Whether to check the content of images and masks. Defaults to True.

    Raises:
        UsageError: If the layout does not fit the config's task, the folder has unusable content, or ``val_fraction``
            is not between 0 and 1 or given without a folder.
    """
    folders = dict(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    given = {name: folder for name, folder in folders.items() if folder}
    if val_fraction is not None and not given:
        raise UsageError('--val-fraction requires --class-folder, --coco-folder or --seg-folder')
    for name, folder in given.items():
        flag, (scope, read) = f'--{name.replace("_", "-")}', KINDS[name]
        if cfg.default_scope != scope:
            raise UsageError(f'{flag} requires a config of {scope}, but {cfg.filename} has default_scope='
                             f'{cfg.default_scope!r}')
        options: dict = dict(val_fraction=val_fraction, split_seed=split_seed, out=list_folder, check_files=content)
        if name == 'coco_folder':
            options['boxes_only'] = not predicts_masks(cfg.model)
        try:
            data = read(folder, **options)
            _set_data(cfg, data)
            dict(class_folder=use_classes, coco_folder=use_objects, seg_folder=use_masks)[name](cfg, data)
        except UsageError as error:
            raise UsageError(f'{flag} {folder}: {error}') from error
    if data_root:
        use_data_root(cfg, data_root)


def use_classes(cfg: Config, data: FolderData) -> None:
    if any(node.get('type') == 'LoadTokenLabels' for node in dicts_in(cfg.train_dataloader.dataset)):
        raise UsageError(f'{cfg.filename} requires token labels, which the folder cannot provide; '
                         'use another config')
    cfg.train_dataloader.drop_last = False  # a small data set may have no complete batch
    for metric in dicts_in([cfg.get('val_evaluator'), cfg.get('test_evaluator')]):
        if metric.get('type') == 'Accuracy':
            topk = metric.get('topk', 1)
            metric['topk'] = tuple(k for k in ([topk] if isinstance(topk, int) else topk) if k <= len(data.classes))


def use_objects(cfg: Config, data: FolderData) -> None:
    if predicts_masks(cfg.model) and not data.has_masks:
        raise UsageError('no object has a mask, but this detector predicts masks; use a detector without masks, e.g. '
                         'configs/retinanet_*.py')
    for metric in dicts_in([cfg.get('val_evaluator'), cfg.get('test_evaluator')]):
        if 'ann_file' in metric:
            metric['ann_file'] = data.val_file


def use_masks(cfg: Config, data: FolderData) -> None:
    for loader in LOADERS:
        for step in dicts_in(cfg.get(loader)):
            if step.get('type') == 'LoadAnnotations':
                step.pop('reduce_zero_label', None)


def use_data_root(cfg: Config, folder: str) -> None:
    """Replaces the root folder of a config's data sets, also in the file names in its evaluators."""
    for split, _ in SPLITS:
        for dataset in datasets_of(cfg, split):
            old = dataset.get('data_root') or ''
            for metric in dicts_in(cfg.get(f'{split}_evaluator')):
                for key in ('ann_file', 'label_file'):
                    if old and (metric.get(key) or '').startswith(osp.join(old, '')):
                        metric[key] = osp.join(folder, osp.relpath(metric[key], old))
            dataset['data_root'] = osp.join(folder, '')


def _set_data(cfg: Config, data: FolderData) -> None:
    """Replaces the data sets, but keeps their pipelines and filters; sets the model's number of classes."""
    classes = data.classes
    for split, part in SPLITS:
        for dataset in datasets_of(cfg, split):
            kept = {key: dataset[key] for key in ('pipeline', 'indices', 'filter_cfg', 'test_mode') if key in dataset}
            dataset.clear()
            dataset.update(kept, **(data.train if part == 'train' else data.val))
    for node in dicts_in([cfg.model, cfg.get('data_preprocessor')]):
        if 'num_classes' in node:
            node['num_classes'] = len(classes)
        elif 'num_things_classes' in node:  # Mask2Former of mmdet
            node['num_things_classes'] = len(classes)
        if 'class_weight' in (node.get('loss_cls') or {}):  # Mask2Former: one weight per class, and one for "no object"
            node['loss_cls']['class_weight'] = [1.0] * len(classes) + [0.1]


def data_options(args: argparse.Namespace) -> dict:
    """Returns the data options of the command line as keyword arguments of :func:`use_custom_data`."""
    names = ('class_folder', 'coco_folder', 'seg_folder', 'data_root', 'val_fraction', 'split_seed')
    return {name: getattr(args, name) for name in names}
