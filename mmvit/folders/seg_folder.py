"""Reads the images and masks of a segmenter from a folder."""
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmvit_backbones.errors import UsageError

from .class_lists import read_class_list
from .colors import class_palette
from .folders import FolderData, Split, format_name, relate_to, report_files, write_file
from .images import images_in
from .rasters import Raster
from .rules import Rule, apply

LAYOUT = ('classes.txt, images/{train,val}/ and masks/{train,val}/; for a training also, with val_fraction=0.1 '
          '(--val-fraction 0.1), images/train/ and masks/train/, or images/ and masks/ alone')
MAX_CLASSES = 255  # mmseg reads masks as 8-bit integers and ignores 255


@dataclass
class SegFolder:
    """The names of the classes, and the images of a part, whose masks are in the folder ``place``."""

    names: Sequence[str]
    images: list[str]
    place: str

    def mask(self, image: str) -> str:
        """Returns the path of an image's mask, or '' if there is none."""
        path = osp.join(self.place, mask_of(image))
        return path if osp.isfile(path) else ''

    @property
    def suffixes(self) -> list[str]:
        return sorted({osp.splitext(image)[1] for image in self.images})


# A comment says what happens without the rule in mmseg.
MANY_CLASSES = Rule(  # labels from 256 on are those of other classes, and 255 is ignored
    f'more than {MAX_CLASSES} classes', 'names', lambda data: range(MAX_CLASSES, len(data.names)),
    f'a segmenter can have at most {MAX_CLASSES} classes, got {{total}}; mmseg reads masks as 8-bit integers, of which '
    f'it ignores {MAX_CLASSES}')
SEG_RULES = [
    # each pixel is right
    Rule('a single class', 'names', lambda data: [0] if len(data.names) == 1 else [],
         'a segmenter needs at least two classes, got {ids} alone'),
    MANY_CLASSES,
    # a data set has one suffix, with which images of others are not found
    Rule('images with different suffixes', 'suffixes', lambda data: range(1, len(data.suffixes)),
         'all images in images/ must have the same suffix, got {data.suffixes}'),
    # a traceback in the midst of an epoch
    Rule('images without mask', 'images',
         lambda data: [i for i, image in enumerate(data.images) if not data.mask(image)],
         '{count} of {total} images have no mask: {ids}; the first must have {detail}',
         detail=lambda data, i: mask_of(data.images[i])),
]


def read_seg_folder(folder: str, split: Split, out: str, classes: Sequence[str] | None) -> FolderData:
    """Returns the data sets of a segmenter from ``images/``, ``masks/`` and the names in ``classes.txt``.

    Masks are PNG files named like their images. Their values are class indices; 255 is ignored. Prints the numbers of
    files that are used and left out.

    Args:
        folder (str): The folder.
        split (Split): Its split.
        out (str): Folder for lists of images.
        classes (Sequence[str] | None): Classes of a training; ``classes.txt`` must have the same names in the same
            order. None for the names in ``classes.txt``.

    Raises:
        UsageError: If the folder has another layout, ``classes.txt`` is invalid, or there are no images.
    """
    list_of_classes = osp.join(folder, 'classes.txt')
    names = read_class_list(list_of_classes)
    if not names:
        raise UsageError('classes.txt must have at least two classes, one per line, got none')
    if classes is not None and names != tuple(classes):
        raise UsageError(f'classes.txt must have the classes of the training in the same order, {tuple(classes)}, got '
                         f'{names}')
    prefixes = split.find_parts(osp.join(folder, 'images'), LAYOUT, is_test=classes is not None)
    if classes is None:
        split.check_others(osp.join(folder, 'images'), prefixes.values())
    if split.val_fraction is None:
        images = {part: seg_images(folder, prefix) for part, prefix in prefixes.items()}
    else:
        found = seg_images(folder, prefixes['val'])
        chosen = split.choose(osp.join(folder, 'images', prefixes['val']), [found])
        if not chosen:
            raise UsageError(f'val_fraction (--val-fraction) needs at least two different images, got {found[0]} alone')
        images = dict(train=[image for image in found if image not in chosen],
                      val=[image for image in found if image in chosen])
    datasets, rasters, problems = {}, {}, []
    for part, prefix in prefixes.items():
        place, masks = osp.join(folder, 'images', prefix), osp.join(folder, 'masks', prefix)
        data = SegFolder(names, images[part], masks)
        problems += apply(SEG_RULES, data, part == 'val', place=place)
        rasters[part] = [Raster(osp.join(place, image), mask=mask, last=len(names) - 1)
                         for image in data.images if (mask := data.mask(image))]
        stems = [osp.splitext(image)[0] for image in images[part]]
        datasets[part] = dict(
            type='BaseSegDataset', data_root=folder,
            ann_file=relate_to(folder, write_file(out, f'{part}.txt', '\n'.join(map(format_name, stems)))),
            data_prefix=dict(img_path=osp.join('images', prefix), seg_map_path=osp.join('masks', prefix)),
            img_suffix=data.suffixes[0], seg_map_suffix='.png', reduce_zero_label=False,
            metainfo=dict(classes=names, palette=class_palette(len(names))))
    return FolderData(datasets.get('train', {}), datasets['val'], names, rasters, tuple(dict.fromkeys(problems)),
                      (list_of_classes, ))


def mask_of(image: str) -> str:
    """Returns the name of an image's mask."""
    return f'{osp.splitext(image)[0]}.png'


def seg_images(folder: str, part: str) -> list[str]:
    """Returns the images in ``images/<part>`` of a data set's folder, relative to it.

    Raises:
        UsageError: If there are no images, or a folder cannot be read.
    """
    root, left = osp.join(folder, 'images', part), Counter()
    images = images_in(root, left) if osp.isdir(root) else []
    if not images:
        raise UsageError(f'{root} has no images; expected {LAYOUT}')
    report_files(osp.join(root, ''), len(images), left)
    return images
