"""Changes a config to custom data, or to another folder of its data set."""
import atexit
import json
import os
import os.path as osp
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..errors import UsageError
from ..utils.config import datasets_of
from ..utils.file_configs import dicts_in
from ..utils.images import SUFFIXES, check_image, image_size
from .checks import check_data, check_mask, check_share, read_coco, warn

SPLITS = (('train', 'train'), ('val', 'val'), ('test', 'val'))  # of a config, of a folder
MASKS_TO_CHECK = 100  # more would take long


@dataclass
class Split:
    """Lists of the images of a run, and the share of images that validate where a folder has no ``val/``."""
    folder: str  # of the lists
    fraction: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise UsageError(f'val_fraction must be between 0 and 1, got {self.fraction}')

    def find_parts(self, folder: str, parent: str = '') -> tuple[str, str]:
        """Returns the folders of images for training and validation, which are one if it is to be divided."""
        if self.fraction is None:
            return osp.join(parent, 'train'), osp.join(parent, 'val')
        if osp.exists(validation := osp.join(folder, parent, 'val')):
            raise UsageError(f'val_fraction is for images without a split, but {validation} exists')
        return (osp.join(parent, 'train' if osp.isdir(osp.join(folder, parent, 'train')) else ''), ) * 2

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
    if val_fraction is not None and not (class_folder or coco_folder or seg_folder):
        raise UsageError('val_fraction is for class_folder, coco_folder or seg_folder, and none is given')
    if class_folder or coco_folder or seg_folder:
        if list_folder is None:
            list_folder = tempfile.mkdtemp(prefix='mmvit_')
            atexit.register(shutil.rmtree, list_folder, ignore_errors=True)
        split = Split(list_folder, val_fraction, seed or 0)
        for use, folder in {use_class_folder: class_folder, use_coco_folder: coco_folder,
                            use_seg_folder: seg_folder}.items():
            if folder:
                use(cfg, folder, split)
    elif data_root:
        use_data_root(cfg, data_root)


def use_class_folder(cfg: Config, folder: str, split: Split) -> None:
    """Sets the data of a classifier to images in ``train/CLASS/`` and ``val/CLASS/`` of a folder, or in ``CLASS/``."""
    _check_scope(cfg, 'mmpretrain', 'class_folder is for classifiers')
    if any(node.get('type') == 'LoadTokenLabels' for node in dicts_in(cfg.train_dataloader.dataset)):
        raise UsageError(f'class_folder: {cfg.filename} needs token labels next to the images; '
                         'tools/data/make_token_labels.py makes them')
    prefixes = dict(zip(('train', 'val'), split.find_parts(folder)))
    images = {part: _class_images(folder, prefix) for part, prefix in prefixes.items()}
    if split.fraction is not None:
        divided = {name: split.divide(files) for name, files in images['train'].items()}
        images = {part: {name: files[i] for name, files in divided.items()} for i, part in enumerate(images)}
    classes = tuple(images['train'])
    if empty := [name for name, files in images['train'].items() if not files]:
        raise UsageError(f'class_folder {folder}: {osp.join(prefixes["train"], empty[0], "")} has no image; the '
                         'folders in it are the classes')
    found = {name for name, files in images['val'].items() if files}
    _refuse_others(f'class_folder {folder}', classes, found)
    if missing := sorted(set(classes) - found):
        warn(f'class_folder {folder}: no image for validation is of {missing}, whose accuracy stays unknown')
    lists = {part: split.write(f'{part}.txt', ''.join(
        f'{file} {label}\n' for label, name in enumerate(classes) for file in of_class.get(name, ())))
        for part, of_class in images.items()}
    for name, part in SPLITS:
        for dataset in datasets_of(cfg, name):
            _replace(dataset, type='CustomDataset', data_root=folder, data_prefix=prefixes[part], ann_file=lists[part])
        for metric in dicts_in(cfg.get(f'{name}_evaluator')):
            if metric.get('type') == 'Accuracy':
                topk = metric.get('topk', 1)
                metric['topk'] = tuple(k for k in ([topk] if isinstance(topk, int) else topk) if k <= len(classes))
    _set_classes(cfg, classes)


def use_coco_folder(cfg: Config, folder: str, split: Split) -> None:
    """Sets the data of a detector to ``train/`` and ``val/`` with ``annotations/instances_{train,val}.json``.

    mmdet numbers the categories of each file in their order there. If they differ, those of val are written in the
    order of train.
    """
    _check_scope(cfg, 'mmdet', 'coco_folder is for detectors')
    files = {part: osp.join('annotations', f'instances_{part}.json') for part in ('train', 'val')}
    prefixes = dict(zip(files, split.find_parts(folder)))
    if split.fraction is not None:
        files['val'] = files['train']
        if not osp.isfile(osp.join(folder, files['train'])):
            files = dict.fromkeys(files, osp.join('annotations', 'instances.json'))
            prefixes = dict.fromkeys(files, 'images')
    _set_coco(cfg, folder, prefixes, files)
    check_data(cfg, ['train', 'val'] if split.fraction is None else ['train'], content=False)
    content = {part: read_coco(osp.join(folder, file)) for part, file in files.items()}
    if split.fraction is not None:
        whole = content['train']
        for part, images in zip(files, split.divide(whole['images'])):
            ids = {image['id'] for image in images}
            content[part] = dict(whole, images=images, annotations=[
                annotation for annotation in whole['annotations'] if annotation.get('image_id') in ids])
            files[part] = split.write(f'instances_{part}.json', json.dumps(content[part]))
    classes = tuple(category['name'] for category in content['train']['categories'])
    if tuple(category['name'] for category in content['val']['categories']) != classes:
        files['val'] = split.write('instances_val.json', json.dumps(_reorder(folder, content['val'], classes)))
    _set_coco(cfg, folder, prefixes, files)
    needs_masks = 'mask_head' in cfg.model.get('roi_head', {}) or 'panoptic_head' in cfg.model
    if needs_masks and not all(a.get('segmentation') for a in content['train']['annotations'] if not a.get('iscrowd')):
        raise UsageError(f'coco_folder {folder}: some annotations have no segmentation, which this detector needs; '
                         'configs/retinanet_*.py take boxes alone')
    _set_classes(cfg, classes)


def use_seg_folder(cfg: Config, folder: str, split: Split) -> None:
    """Sets the data of a segmenter to ``images/{train,val}/``, ``masks/{train,val}/`` and the names in ``classes.txt``.

    Masks are PNG files with the images' names and class indices from 0 as values (255 is ignored).
    """
    _check_scope(cfg, 'mmseg', 'seg_folder is for segmenters')
    classes = _read_class_names(folder)
    prefixes = [osp.relpath(prefix, 'images') for prefix in split.find_parts(folder, 'images')]
    names, suffixes = zip(*(_check_masks(folder, prefix, len(classes)) for prefix in prefixes))
    if split.fraction is not None:
        names = split.divide(names[0])
    parts = {part: dict(
        data_prefix=dict(img_path=osp.join('images', prefix), seg_map_path=osp.join('masks', prefix)),
        img_suffix=suffix, ann_file=split.write(f'{part}.txt', '\n'.join(stems)))
        for part, prefix, suffix, stems in zip(('train', 'val'), prefixes, suffixes, names)}
    for name, part in SPLITS:
        for dataset in datasets_of(cfg, name):
            _replace(dataset, type='BaseSegDataset', data_root=folder, seg_map_suffix='.png', reduce_zero_label=False,
                     **parts[part])
            for step in dicts_in(dataset.pipeline):
                if step.get('type') == 'LoadAnnotations':
                    step.pop('reduce_zero_label', None)
    _set_classes(cfg, classes)


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


# ---- what is in a folder


def _check_scope(cfg: Config, scope: str, reason: str) -> None:
    if cfg.default_scope != scope:
        raise UsageError(f'{reason}, and {cfg.filename} has default_scope={cfg.default_scope!r}')


def _replace(dataset: dict, **new) -> None:
    """Replaces a data set config in place; pipeline and selection of samples are kept."""
    kept = {key: dataset[key] for key in ('pipeline', 'indices') if key in dataset}
    dataset.clear()
    dataset.update(kept, **new)


def _set_classes(cfg: Config, classes: tuple[str, ...]) -> None:
    for split, _ in SPLITS:
        for dataset in datasets_of(cfg, split):
            dataset['metainfo'] = dict(classes=classes)
    for node in (*dicts_in(cfg.model), *dicts_in(cfg.get('data_preprocessor'))):
        if 'num_classes' in node:
            node['num_classes'] = len(classes)
        elif 'num_things_classes' in node:  # Mask2Former of mmdet
            node['num_things_classes'] = len(classes)
        if 'class_weight' in (node.get('loss_cls') or {}):  # Mask2Former, for the classes and for none of them
            node['loss_cls']['class_weight'] = [1.0] * len(classes) + [0.1]


def _class_images(folder: str, part: str) -> dict[str, list[str]]:
    """Returns the images of each class in a split, relative to it; hidden folders are no classes."""
    root = Path(folder, part)
    if not root.is_dir():
        raise UsageError(f'class_folder {folder}: it has no folder {part}/; expected are train/CLASS/ and val/CLASS/, '
                         'or CLASS/ and val_fraction')
    images = {path.name: [] for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith('.')}
    for name in images:
        for place, folders, files in os.walk(root / name, followlinks=True):
            folders[:] = sorted(inner for inner in folders if not inner.startswith('.'))
            images[name] += [osp.relpath(osp.join(place, file), root) for file in sorted(files)
                             if file.lower().endswith(SUFFIXES) and not file.startswith('.')]
    if not images:
        raise UsageError(f'class_folder {folder}: {part}/ has no folders; the folders in it are the classes')
    return images


def _refuse_others(folder: str, classes: tuple[str, ...], of_val: set[str]) -> None:
    """Raises UsageError if the data for validation have classes that those for training lack."""
    if others := of_val - set(classes):
        raise UsageError(f'{folder}: the data for validation also have the classes {sorted(others)}; those for '
                         f'training have {sorted(classes)}')


def _set_coco(cfg: Config, folder: str, prefixes: dict[str, str], files: dict[str, str]) -> None:
    for name, part in SPLITS:
        for dataset in datasets_of(cfg, name):
            dataset.pop('data_prefix', None)  # update would keep other folders in it
            dataset.update(type='CocoDataset', data_root=osp.join(folder, ''), ann_file=files[part],
                           data_prefix=dict(img=osp.join(prefixes[part], '')))
        for metric in dicts_in(cfg.get(f'{name}_evaluator')):
            if 'ann_file' in metric:
                metric['ann_file'] = osp.join(folder, files[part])


def _reorder(folder: str, content: dict, classes: tuple[str, ...]) -> dict:
    """Returns a COCO file's content with the categories ``classes`` in this order; absent ones are added."""
    ids = {category['name']: category['id'] for category in content['categories']}
    used = {annotation.get('category_id') for annotation in content['annotations']}
    _refuse_others(f'coco_folder {folder}', classes, {name for name, number in ids.items() if number in used})
    free = max(filter(lambda number: isinstance(number, int), [*ids.values(), *used]), default=0) + 1
    return dict(content, categories=[dict(id=ids.get(name, free + i), name=name) for i, name in enumerate(classes)])


def _read_class_names(folder: str) -> tuple[str, ...]:
    file = Path(folder, 'classes.txt')
    if not file.is_file():
        raise UsageError(f'seg_folder {folder}: it has no classes.txt, which names a class in each line')
    names = tuple(line.strip() for line in file.read_text(encoding='utf-8').splitlines() if line.strip())
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f'seg_folder {folder}: classes.txt must name two classes or more, each once, got {names}')
    return names


def _check_masks(folder: str, part: str, num_classes: int) -> tuple[list[str], str]:
    """Checks that images have masks of their size and of class indices; returns their names, and their suffix."""
    images = sorted(path for path in Path(folder, 'images', part).glob('*')
                    if path.suffix.lower() in SUFFIXES and not path.name.startswith('.'))
    where = osp.join('images', part)
    if not images:
        raise UsageError(f'seg_folder {folder}: {where}/ has no image; expected are images/{{train,val}}/ and '
                         'masks/{train,val}/, or images/, masks/ and val_fraction')
    suffixes = {image.suffix for image in images}
    if len(suffixes) > 1:
        raise UsageError(f'seg_folder {folder}: {where}/ has files of {sorted(suffixes)}, one suffix is allowed')
    masks = {image: Path(folder, 'masks', part, f'{image.stem}.png') for image in images}
    if missing := next((image for image, mask in masks.items() if not mask.is_file()), None):
        raise UsageError(f'seg_folder {folder}: {missing} has no mask {masks[missing]}')
    labels, wrong, blank, step = set(), [], [], -(-len(images) // MASKS_TO_CHECK)
    checked = images[::step] + [image for i, image in enumerate(images) if i % step]
    for number, image in enumerate(checked):
        if number >= MASKS_TO_CHECK and len(labels - {255}) > 1:
            break  # otherwise what is left may have something to learn
        mask = np.array(check_image(masks[image]))
        check_mask(masks[image], mask, num_classes - 1)
        values = set(np.unique(mask).tolist())
        labels |= values
        if values == {255}:
            blank.append(f'{masks[image]} is 255 everywhere')
        if mask.shape != (size := image_size(image)[::-1]):
            wrong.append(f'{masks[image]} is of {mask.shape[0]} x {mask.shape[1]} pixels, its image of {size[0]} x '
                         f'{size[1]}')
    check_share(wrong, min(len(checked), MASKS_TO_CHECK), 'masks must have the size of their images')
    check_share(blank, min(len(checked), MASKS_TO_CHECK), '255 is ignored, and nothing is learned from such masks')
    if len(labels - {255}) < 2 and part != 'val':
        raise UsageError(f'seg_folder {folder}: the masks in {osp.join("masks", part)}/ have only the values '
                         f'{sorted(labels)}, where 255 is ignored, so that there is nothing to learn; the values of '
                         'pixels are class indices from 0')
    return [image.stem for image in images], suffixes.pop()
