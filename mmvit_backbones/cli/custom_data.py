"""Changes a config to use custom data, or another root folder for its own data set."""
import argparse
import atexit
import json
import os
import os.path as osp
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass

from mmengine.config import Config

from ..data.coco import complete, divide, read_coco, reorder, report_images
from ..data.folders import Split, class_images, refuse_others, seg_images
from ..data.masks import check_masks
from ..data.mistakes import warn
from ..data.text import check_class_names, read_class_list
from ..errors import UsageError
from ..utils.config import LOADERS, datasets_of, dicts_in, predicts_masks

SPLITS = (('train', 'train'), ('val', 'val'), ('test', 'val'))  # split of the config, part of the custom data


@dataclass
class Choice(Split):
    """The split of a folder's images, with options for reading the folder.

    Args:
        list_folder (str): Folder for generated lists of images and annotation files.
        content (bool): Whether to check the content of masks.
    """

    list_folder: str = ''
    content: bool = True

    def write(self, name: str, text: str) -> str:
        """Writes a file to ``list_folder``, atomically because several processes may write it, and returns its path."""
        os.makedirs(self.list_folder, exist_ok=True)
        path = osp.abspath(osp.join(self.list_folder, name))
        with tempfile.NamedTemporaryFile('w', encoding='utf-8', dir=self.list_folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
        return path


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
        content (bool): Whether to check the content of masks. Defaults to True.

    Raises:
        UsageError: If the layout does not fit the config's task, the folder has unusable content, or ``val_fraction``
            is not between 0 and 1 or given without a folder.
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise UsageError(f'--val-fraction must be between 0 and 1, got {val_fraction}')
    folders = dict(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    given = {name: folder for name, folder in folders.items() if folder}
    if val_fraction is not None and not given:
        raise UsageError('--val-fraction requires --class-folder, --coco-folder or --seg-folder')
    for name, folder in given.items():
        flag, (scope, use) = f'--{name.replace("_", "-")}', KINDS[name]
        if cfg.default_scope != scope:
            raise UsageError(f'{flag} requires a config of {scope}, but {cfg.filename} has default_scope='
                             f'{cfg.default_scope!r}')
        if list_folder is None:
            list_folder = tempfile.mkdtemp(prefix='mmvit_')
            atexit.register(shutil.rmtree, list_folder, ignore_errors=True)
        try:
            use(cfg, folder, Choice(val_fraction, split_seed, list_folder, content))
        except UsageError as error:
            raise UsageError(f'{flag} {folder}: {error}') from error
    if data_root:
        use_data_root(cfg, data_root)


def use_class_folder(cfg: Config, folder: str, choice: Choice) -> None:
    """Sets the data of a classifier to the images in ``train/CLASS/`` and ``val/CLASS/``.

    With ``choice.val_fraction``, the images are in ``CLASS/`` or ``train/CLASS/``.
    """
    if any(node.get('type') == 'LoadTokenLabels' for node in dicts_in(cfg.train_dataloader.dataset)):
        raise UsageError(f'{cfg.filename} requires token labels, which the folder cannot provide; '
                         'use another config')
    prefixes = choice.find_parts(folder)
    found = class_images(folder, prefixes.values())
    images = {part: dict(found[prefix]) for part, prefix in prefixes.items()}
    classes = tuple(images['train'])
    if empty := [name for name in classes if not images['train'][name]]:
        raise UsageError(f'{osp.join(prefixes["train"], empty[0], "")} has no images; every class must have some')
    if choice.val_fraction is not None:
        for name in classes:
            images['train'][name], images['val'][name] = choice.divide(images['train'][name])
    of_val = {name for name, files in images['val'].items() if files}
    if not of_val:
        reason = '' if choice.val_fraction is None else ': every class has a single image, which cannot be split'
        raise UsageError(f'there are no validation images{reason}')
    refuse_others(classes, of_val)
    if missing := sorted(set(classes) - of_val):
        warn(f'--class-folder {folder}: there are no validation images of the classes {missing}')
    datasets = {}
    for part, of_class in images.items():
        lines = [f'{file} {label}\n' for label, name in enumerate(classes) for file in of_class.get(name, ())]
        datasets[part] = dict(type='CustomDataset', data_root=folder, data_prefix=prefixes[part],
                              ann_file=choice.write(f'{part}.txt', ''.join(lines)))
    _set_data(cfg, dict(classes=classes), datasets)
    cfg.train_dataloader.drop_last = False  # a small data set may have no complete batch
    for metric in dicts_in([cfg.get('val_evaluator'), cfg.get('test_evaluator')]):
        if metric.get('type') == 'Accuracy':
            topk = metric.get('topk', 1)
            metric['topk'] = tuple(k for k in ([topk] if isinstance(topk, int) else topk) if k <= len(classes))


def use_coco_folder(cfg: Config, folder: str, choice: Choice) -> None:
    """Sets the data of a detector to ``train/`` and ``val/`` with ``annotations/instances_{train,val}.json``.

    mmdet numbers categories by their order in each file. If the order in the validation file differs, the config uses a
    copy of the file with the categories in the order of the training file.
    """
    prefixes = choice.find_parts(folder)
    files = {part: osp.join('annotations', f'instances_{part}.json') for part in prefixes}
    if choice.val_fraction is not None:
        if not osp.isfile(osp.join(folder, files['train'])):
            prefixes, files['train'] = dict.fromkeys(prefixes, 'images'), osp.join('annotations', 'instances.json')
        files['val'] = files['train']
    contents = {file: read_coco(osp.join(folder, file)) for file in files.values()}
    is_changed = {file: _prepare(osp.join(folder, file), content) for file, content in contents.items()}
    parts = {part: contents[file] for part, file in files.items()}
    if choice.val_fraction is not None:
        parts = dict(zip(parts, divide(parts['train'], choice)))
    classes = tuple(category['name'] for category in parts['train']['categories'])
    for part, content in parts.items():
        in_order = tuple(category['name'] for category in content['categories']) == classes
        if choice.val_fraction is not None or is_changed[files[part]] or not in_order:
            text = json.dumps(content if in_order else reorder(content, classes))
            files[part] = choice.write(f'instances_{part}.json', text)
    places = defaultdict(list)
    for part, prefix in prefixes.items():
        places[osp.realpath(osp.join(folder, prefix))].append(parts[part])
    report_images(places)
    _set_data(cfg, dict(classes=classes), {part: dict(
        type='CocoDataset', data_root=osp.join(folder, ''), ann_file=files[part],
        data_prefix=dict(img=osp.join(prefixes[part], ''))) for part in files})
    for metric in dicts_in([cfg.get('val_evaluator'), cfg.get('test_evaluator')]):
        if 'ann_file' in metric:
            metric['ann_file'] = osp.join(folder, files['val'])
    objects = [each for each in parts['train']['annotations'] if not each.get('iscrowd')]
    if predicts_masks(cfg.model) and not all(each.get('segmentation') for each in objects):
        raise UsageError('some annotations have no segmentation, but this detector predicts masks; use a detector '
                         'without masks, e.g. configs/retinanet_*.py')


def _prepare(file: str, content: dict) -> bool:
    """Fills in missing fields of a COCO file's content, and returns whether mmdet needs a rewritten file."""
    check_class_names([category['name'] for category in content['categories']], file)
    if done := complete(content):
        warn(f'{file}: {", ".join(done)}')
    return bool(done)


def use_seg_folder(cfg: Config, folder: str, choice: Choice) -> None:
    """Sets the data of a segmenter to ``images/{train,val}/``, ``masks/{train,val}/`` and the names in ``classes.txt``.

    Masks are PNG files named like their images. Their values are class indices; 255 is ignored.
    """
    classes, palette = read_class_list(osp.join(folder, 'classes.txt'))
    if len(classes) < 2:
        raise UsageError(f'classes.txt must have at least two classes, one per line, got {classes}')
    prefixes = choice.find_parts(osp.join(folder, 'images'))
    masks = {prefix: seg_images(folder, prefix) for prefix in dict.fromkeys(prefixes.values())}
    if choice.content:
        for prefix, of_image in masks.items():
            check_masks({osp.join(folder, 'images', prefix, image): mask for image, mask in of_image.items()},
                        len(classes) - 1, needs_labels=prefix != 'val')
    images = {part: list(masks[prefix]) for part, prefix in prefixes.items()}
    if choice.val_fraction is not None:
        images = dict(zip(images, choice.divide(images['train'])))
        if not images['val']:
            raise UsageError('--val-fraction needs at least two images, got 1')
    datasets = {}
    for part, prefix in prefixes.items():
        stems, suffixes = zip(*map(osp.splitext, images[part]))
        datasets[part] = dict(
            type='BaseSegDataset', data_root=folder, ann_file=choice.write(f'{part}.txt', '\n'.join(stems)),
            data_prefix=dict(img_path=osp.join('images', prefix), seg_map_path=osp.join('masks', prefix)),
            img_suffix=suffixes[0], seg_map_suffix='.png', reduce_zero_label=False)
    _set_data(cfg, dict(classes=classes, palette=palette) if palette else dict(classes=classes), datasets)
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


KINDS = dict(class_folder=('mmpretrain', use_class_folder), coco_folder=('mmdet', use_coco_folder),
             seg_folder=('mmseg', use_seg_folder))


def _set_data(cfg: Config, metainfo: dict, datasets: dict[str, dict]) -> None:
    """Replaces the data sets, but keeps their pipelines and filters; sets the model's number of classes."""
    classes = metainfo['classes']
    for split, part in SPLITS:
        for dataset in datasets_of(cfg, split):
            kept = {key: dataset[key] for key in ('pipeline', 'indices', 'filter_cfg', 'test_mode') if key in dataset}
            dataset.clear()
            dataset.update(kept, metainfo=dict(metainfo), **datasets[part])
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
