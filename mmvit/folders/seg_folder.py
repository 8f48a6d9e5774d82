"""Reads the images and masks of a segmenter from a folder."""
import os
import os.path as osp
from collections import Counter
from collections.abc import Sequence

from mmvit_backbones.errors import UsageError

from ..utils.colors import class_palette
from ..utils.images import images_in
from .folders import FolderData, Split, check_images, composed, listed, output_folder, report_files, seen_from, write
from .masks import check_masks
from .text import read_class_list

LAYOUT = ('classes.txt, images/{train,val}/ and masks/{train,val}/; or, with --val-fraction 0.1, images/train/ and '
          'masks/train/, or images/ and masks/ alone')


def read_seg_folder(folder: str | os.PathLike, *, val_fraction: float | None = None, split_seed: int = 0,
                    out: str | os.PathLike | None = None, classes: Sequence[str] | None = None,
                    check_files: bool = True) -> FolderData:
    """Returns the data sets of a segmenter from ``images/``, ``masks/`` and the names in ``classes.txt``.

    Masks are PNG files named like their images. Their values are class indices; 255 is ignored. Prints the numbers of
    files that are used and left out.

    Args:
        classes (Sequence[str] | None): Classes of a training; ``classes.txt`` must have the same names in the same
            order. Defaults to None: the names in ``classes.txt``.
        check_files (bool): Whether to check images and the content of masks. Defaults to True.
        folder, val_fraction, split_seed, out: As in :func:`read_coco_folder`.

    Raises:
        UsageError: If the folder has another layout, ``classes.txt`` is invalid, or images or masks cannot be used.
    """
    folder, split = os.fspath(folder), Split(val_fraction, split_seed)
    names, palette = read_class_list(osp.join(folder, 'classes.txt'))
    if len(names) < 2:
        raise UsageError(f'classes.txt must have at least two classes, one per line, got {names}')
    if classes is not None and names != tuple(classes):
        raise UsageError(f'classes.txt must have the classes of the training in the same order, {tuple(classes)}, got '
                         f'{names}')
    prefixes = split.find_parts(osp.join(folder, 'images'), LAYOUT, is_test=classes is not None)
    masks = {prefix: seg_images(folder, prefix) for prefix in dict.fromkeys(prefixes.values())}
    if check_files:
        for prefix, of_image in masks.items():
            pairs = {osp.join(folder, 'images', prefix, image): mask for image, mask in of_image.items()}
            check_images(pairs)
            check_masks(pairs, len(names) - 1, needs_labels=prefix != 'val')
    images = {part: list(masks[prefix]) for part, prefix in prefixes.items()}
    if val_fraction is not None:
        images = dict(zip(images, split.divide(images['train'])))
        if not images['val']:
            raise UsageError('val_fraction (--val-fraction) needs at least two images, got 1')
    out, datasets = output_folder(out), {}
    for part, prefix in prefixes.items():
        stems, suffixes = zip(*map(osp.splitext, images[part]))
        datasets[part] = dict(
            type='BaseSegDataset', data_root=folder,
            ann_file=seen_from(folder, write(out, f'{part}.txt', '\n'.join(map(listed, stems)))),
            data_prefix=dict(img_path=osp.join('images', prefix), seg_map_path=osp.join('masks', prefix)),
            img_suffix=suffixes[0], seg_map_suffix='.png', reduce_zero_label=False,
            metainfo=dict(classes=names, palette=palette or class_palette(len(names))))
    return FolderData(datasets.get('train', {}), datasets['val'], names, len(images.get('train', ())),
                      len(images['val']))


def seg_images(folder: str, part: str) -> dict[str, str]:
    """Returns the images in ``images/<part>`` of a data set's folder, with the paths of their masks.

    Raises:
        UsageError: If there are no images, a mask is missing, suffixes of images differ, or a folder cannot be read.
    """
    root, left = osp.join(folder, 'images', part), Counter()
    images = images_in(root, left) if osp.isdir(root) else []
    if not images:
        raise UsageError(f'{root} has no images; expected {LAYOUT}')
    report_files(osp.join(root, ''), len(images), left)
    suffixes = {osp.splitext(image)[1] for image in images}
    if len(suffixes) > 1:
        raise UsageError(f'all images in {root} must have the same suffix, got {sorted(suffixes)}')
    masks = {image: osp.join(folder, 'masks', part, f'{osp.splitext(image)[0]}.png') for image in images}
    if missing := [image for image, mask in masks.items() if not osp.isfile(mask)]:
        image, mask = missing[0], masks[missing[0]]
        others = {composed(name): name for name in images_in(osp.join(folder, 'masks', part))}
        if other := others.get(composed(osp.splitext(image)[0]) + '.png'):
            raise UsageError(f'{osp.join(root, image)} has no mask {mask}: the name of {other} differs in its Unicode '
                             'form (NFC or NFD); give both files the same name')
        raise UsageError(f'{osp.join(root, image)} has no mask {mask}')
    return masks
