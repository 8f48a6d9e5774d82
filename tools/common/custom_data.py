"""Changes a config to custom data, or to another folder of its data set."""
import atexit
import json
import os
import os.path as osp
import random
import shutil
import tempfile
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.config import datasets_of
from mmvit_backbones.utils.file_configs import dicts_in
from mmvit_backbones.utils.images import SUFFIXES, check_image, image_size

from .data_checks import IGNORED, check_mask, check_share, read_coco, warn

SPLITS = (('train', 'train'), ('val', 'val'), ('test', 'val'))  # of a config, of a folder
MASKS_TO_CHECK = 100  # more would take long


@dataclass
class Split:
    """Lists of the images of a run, and the share of images that validate where a folder has no ``val/``."""
    folder: str  # of the lists
    fraction: float | None
    seed: int

    def find_parts(self, folder: str) -> dict[str, str]:
        """Returns the folders of images for training and validation, which are one if it is to be divided."""
        if self.fraction is None:
            return dict(train='train', val='val')
        if osp.exists(validation := osp.join(folder, 'val')):
            raise UsageError(f'--val-fraction is for images without a split, but {validation} exists')
        whole = 'train' if osp.isdir(osp.join(folder, 'train')) else ''
        return dict(train=whole, val=whole)

    def divide(self, items: list) -> tuple[list, list]:
        """Returns those for training, and a random share, repeatable by the seed, for validation."""
        number = max(0, min(max(1, round(self.fraction * len(items))), len(items) - 1))
        chosen = set(random.Random(self.seed).sample(range(len(items)), number))
        return ([item for i, item in enumerate(items) if i not in chosen],
                [item for i, item in enumerate(items) if i in chosen])

    def write(self, name: str, text: str) -> str:
        """Writes a list completely or not at all, as several processes write the same, and returns its path."""
        os.makedirs(self.folder, exist_ok=True)
        path = osp.abspath(osp.join(self.folder, name))
        with tempfile.NamedTemporaryFile('w', encoding='utf-8', dir=self.folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
        return path


def use_custom_data(cfg: Config, class_folder: str | None = None, coco_folder: str | None = None,
                    seg_folder: str | None = None, data_root: str | None = None, val_fraction: float | None = None,
                    seed: int | None = None, list_folder: str | None = None) -> None:
    """Points a config to a folder of one of four kinds, after checking its content; without a folder, does nothing.

    Args:
        cfg (Config): Changed in place.
        class_folder, coco_folder, seg_folder, data_root (str | None): At most one; ``docs/tools.md`` describes them.
        val_fraction (float | None): Share of the images for validation, if the folder does not divide them.
        seed (int | None): Of this division. Defaults to 0.
        list_folder (str | None): Folder for lists of images. Defaults to a temporary one, removed when Python ends.

    Raises:
        UsageError: If the folder is not for this config, or its content cannot be used.
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise UsageError(f'--val-fraction must be between 0 and 1, got {val_fraction}')
    folders = dict(class_folder=class_folder, coco_folder=coco_folder, seg_folder=seg_folder)
    given = {name: folder for name, folder in folders.items() if folder}
    if val_fraction is not None and not given:
        raise UsageError('--val-fraction is for --class-folder, --coco-folder or --seg-folder, and none is given')
    for name, folder in given.items():
        flag, (scope, use) = f'--{name.replace("_", "-")}', KINDS[name]
        if cfg.default_scope != scope:
            raise UsageError(f'{flag} is for {scope}, and {cfg.filename} has default_scope={cfg.default_scope!r}')
        if list_folder is None:
            list_folder = tempfile.mkdtemp(prefix='mmvit_')
            atexit.register(shutil.rmtree, list_folder, ignore_errors=True)
        try:
            use(cfg, folder, Split(list_folder, val_fraction, seed or 0))
        except UsageError as error:
            raise UsageError(f'{flag} {folder}: {error}') from error
    if data_root:
        use_data_root(cfg, data_root)


def use_class_folder(cfg: Config, folder: str, split: Split) -> None:
    """Sets the data of a classifier to images in ``train/CLASS/`` and ``val/CLASS/`` of a folder, or in ``CLASS/``."""
    if any(node.get('type') == 'LoadTokenLabels' for node in dicts_in(cfg.train_dataloader.dataset)):
        raise UsageError(f'{cfg.filename} needs token labels next to the images; tools/data/make_token_labels.py '
                         'makes them')
    prefixes = split.find_parts(folder)
    images = {part: _class_images(folder, prefix) for part, prefix in prefixes.items()}
    classes = tuple(images['train'])
    if empty := [name for name in classes if not images['train'][name]]:
        raise UsageError(f'{osp.join(prefixes["train"], empty[0], "")} has no image; the folders in it are the classes')
    if split.fraction is not None:
        for name in classes:
            images['train'][name], images['val'][name] = split.divide(images['train'][name])
    found = {name for name, files in images['val'].items() if files}
    _refuse_others(classes, found)
    if missing := sorted(set(classes) - found):
        warn(f'--class-folder {folder}: no image for validation is of {missing}, whose accuracy stays unknown')
    datasets = {}
    for part, of_class in images.items():
        lines = [f'{file} {label}\n' for label, name in enumerate(classes) for file in of_class.get(name, ())]
        datasets[part] = dict(type='CustomDataset', data_root=folder, data_prefix=prefixes[part],
                              ann_file=split.write(f'{part}.txt', ''.join(lines)))
    _set_data(cfg, classes, datasets)
    for metric in dicts_in([cfg.get('val_evaluator'), cfg.get('test_evaluator')]):
        if metric.get('type') == 'Accuracy':
            topk = metric.get('topk', 1)
            metric['topk'] = tuple(k for k in ([topk] if isinstance(topk, int) else topk) if k <= len(classes))


def use_coco_folder(cfg: Config, folder: str, split: Split) -> None:
    """Sets the data of a detector to ``train/`` and ``val/`` with ``annotations/instances_{train,val}.json``.

    mmdet numbers the categories of each file in their order there. If they differ, those of val are written in the
    order of train.
    """
    prefixes = split.find_parts(folder)
    files = {part: osp.join('annotations', f'instances_{part}.json') for part in prefixes}
    if split.fraction is None:
        train, val = (read_coco(osp.join(folder, file)) for file in files.values())
    else:
        if not osp.isfile(osp.join(folder, files['train'])):
            files['train'] = osp.join('annotations', 'instances.json')
            prefixes = dict.fromkeys(prefixes, 'images')
        train, val = _divide_coco(read_coco(osp.join(folder, files['train'])), split)
        files = {part: split.write(f'instances_{part}.json', json.dumps(content))
                 for part, content in zip(files, (train, val))}
    classes = tuple(category['name'] for category in train['categories'])
    if tuple(category['name'] for category in val['categories']) != classes:
        files['val'] = split.write('instances_val.json', json.dumps(_reorder(val, classes)))
    _set_data(cfg, classes, {part: dict(
        type='CocoDataset', data_root=osp.join(folder, ''), ann_file=files[part],
        data_prefix=dict(img=osp.join(prefixes[part], ''))) for part in files})
    for metric in dicts_in([cfg.get('val_evaluator'), cfg.get('test_evaluator')]):
        if 'ann_file' in metric:
            metric['ann_file'] = osp.join(folder, files['val'])
    needs_masks = 'mask_head' in cfg.model.get('roi_head', {}) or 'panoptic_head' in cfg.model
    if needs_masks and not all(a.get('segmentation') for a in train['annotations'] if not a.get('iscrowd')):
        raise UsageError('some annotations have no segmentation, which this detector needs; configs/retinanet_*.py '
                         'take boxes alone')


def use_seg_folder(cfg: Config, folder: str, split: Split) -> None:
    """Sets the data of a segmenter to ``images/{train,val}/``, ``masks/{train,val}/`` and the names in ``classes.txt``.

    Masks are PNG files with the images' names and class indices from 0 as values (255 is ignored).
    """
    classes = _read_class_names(osp.join(folder, 'classes.txt'))
    prefixes = split.find_parts(osp.join(folder, 'images'))
    checked = {prefix: _seg_images(folder, prefix, len(classes)) for prefix in dict.fromkeys(prefixes.values())}
    images = {part: checked[prefix] for part, prefix in prefixes.items()}
    if split.fraction is not None:
        images = dict(zip(images, split.divide(images['train'])))
    datasets = {}
    for part, prefix in prefixes.items():
        stems, suffixes = zip(*map(osp.splitext, images[part]))
        datasets[part] = dict(
            type='BaseSegDataset', data_root=folder, ann_file=split.write(f'{part}.txt', '\n'.join(stems)),
            data_prefix=dict(img_path=osp.join('images', prefix), seg_map_path=osp.join('masks', prefix)),
            img_suffix=suffixes[0], seg_map_suffix='.png', reduce_zero_label=False)
    _set_data(cfg, classes, datasets)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for step in dicts_in(cfg.get(loader)):
            if step.get('type') == 'LoadAnnotations':
                step.pop('reduce_zero_label', None)


def use_data_root(cfg: Config, folder: str) -> None:
    """Sets the folder of a config's data set."""
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


def _set_data(cfg: Config, classes: tuple[str, ...], datasets: dict[str, dict]) -> None:
    """Sets data sets, except for pipelines and selections of samples, and the classes of data sets and model."""
    for split, part in SPLITS:
        for dataset in datasets_of(cfg, split):
            kept = {key: dataset[key] for key in ('pipeline', 'indices', 'filter_cfg', 'test_mode') if key in dataset}
            dataset.clear()
            dataset.update(kept, metainfo=dict(classes=classes), **datasets[part])
    for node in dicts_in([cfg.model, cfg.get('data_preprocessor')]):
        if 'num_classes' in node:
            node['num_classes'] = len(classes)
        elif 'num_things_classes' in node:  # Mask2Former of mmdet
            node['num_things_classes'] = len(classes)
        if 'class_weight' in (node.get('loss_cls') or {}):  # Mask2Former, for the classes and for none of them
            node['loss_cls']['class_weight'] = [1.0] * len(classes) + [0.1]


def _refuse_others(classes: tuple[str, ...], of_val: set[str]) -> None:
    """Raises UsageError if the data for validation have classes that those for training lack."""
    if others := of_val - set(classes):
        raise UsageError(f'the data for validation also have the classes {sorted(others)}; those for training have '
                         f'{sorted(classes)}')


# ---- what is in a folder


def _images_in(folder: str) -> list[str]:
    """Returns the images in a folder at any depth, relative to it; hidden files and folders are left out."""
    return sorted(name for name in glob('**', root_dir=folder, recursive=True) if name.lower().endswith(SUFFIXES))


def _class_images(folder: str, part: str) -> dict[str, list[str]]:
    """Returns the images of each class in a split, relative to it; hidden folders are no classes."""
    root = osp.join(folder, part)
    classes = [osp.dirname(name) for name in sorted(glob('*/', root_dir=root))]
    if not classes:
        raise UsageError(f'it has no folder {osp.join(part, "CLASS", "")}; expected are train/CLASS/ and val/CLASS/, '
                         'or CLASS/ and --val-fraction')
    return {name: [osp.join(name, file) for file in _images_in(osp.join(root, name))] for name in classes}


def _divide_coco(content: dict, split: Split) -> list[dict]:
    """Returns the content of two COCO files, for training and for validation."""
    parts = []
    for images in split.divide(content['images']):
        ids = {image['id'] for image in images}
        annotations = [annotation for annotation in content['annotations'] if annotation.get('image_id') in ids]
        parts.append(dict(content, images=images, annotations=annotations))
    return parts


def _reorder(content: dict, classes: tuple[str, ...]) -> dict:
    """Returns a COCO file's content with the categories ``classes`` in this order; absent ones are added."""
    ids = {category['name']: category['id'] for category in content['categories']}
    used = {annotation.get('category_id') for annotation in content['annotations']}
    _refuse_others(classes, {name for name, number in ids.items() if number in used})
    free = max((number for number in (*ids.values(), *used) if isinstance(number, int)), default=0) + 1
    return dict(content, categories=[dict(id=ids.get(name, free + i), name=name) for i, name in enumerate(classes)])


def _read_class_names(path: str) -> tuple[str, ...]:
    if not osp.isfile(path):
        raise UsageError('it has no classes.txt, which names a class in each line')
    names = tuple(filter(None, map(str.strip, Path(path).read_text(encoding='utf-8').splitlines())))
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f'classes.txt must name two classes or more, each once, got {names}')
    return names


def _seg_images(folder: str, part: str, num_classes: int) -> list[str]:
    """Returns the images of a split, of one suffix; checks that they have masks of their size and of class indices."""
    root = osp.join(folder, 'images', part)
    images = _images_in(root)
    if not images:
        raise UsageError(f'{root} has no image; expected are images/{{train,val}}/ and masks/{{train,val}}/, or '
                         'images/, masks/ and --val-fraction')
    suffixes = {osp.splitext(image)[1] for image in images}
    if len(suffixes) > 1:
        raise UsageError(f'{root} has files of {sorted(suffixes)}, one suffix is allowed')
    masks = {image: osp.join(folder, 'masks', part, f'{osp.splitext(image)[0]}.png') for image in images}
    if missing := [image for image, mask in masks.items() if not osp.isfile(mask)]:
        raise UsageError(f'{osp.join(root, missing[0])} has no mask {masks[missing[0]]}')
    labels, wrong, step = set(), [], -(-len(images) // MASKS_TO_CHECK)
    checked = images[::step] + [image for i, image in enumerate(images) if i % step]
    for number, image in enumerate(checked):
        if number >= MASKS_TO_CHECK and len(labels) > 1:
            break  # otherwise what is left may have something to learn
        mask = np.array(check_image(masks[image]))
        check_mask(masks[image], mask, num_classes - 1)
        size = image_size(osp.join(root, image))[::-1]
        if mask.shape != size:
            wrong.append('{} is of {} x {} pixels, its image of {} x {}'.format(masks[image], *mask.shape, *size))
        elif not (values := set(np.unique(mask).tolist()) - {IGNORED}):
            wrong.append(f'{masks[image]} is {IGNORED} everywhere, which is ignored')
        else:
            labels |= values
    check_share(wrong, min(len(checked), MASKS_TO_CHECK), 'masks have the size of their images, and labels to learn')
    if len(labels) < 2 and part != 'val':
        raise UsageError(f'the masks in {osp.join("masks", part)}/ have only the labels {sorted(labels)}, so that '
                         'there is nothing to learn; the values of pixels are class indices from 0')
    return images
