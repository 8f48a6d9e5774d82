"""Converts COCO instance annotations to semantic masks with five coarse classes.

For each image it writes an 8-bit palette PNG of the same size and stem; the pixel value is the class id:
0 background, 1 person, 2 vehicle, 3 animal, 4 other thing. Crowd regions take their category's class.
Where instances overlap, the one with the smaller area is on top.

Usage: python tools/data/make_semantic_masks.py INSTANCES_JSON OUT_DIR
"""
import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

CLASSES = ('background', 'person', 'vehicle', 'animal', 'other thing')
PALETTE = ((0, 0, 0), (220, 20, 60), (0, 100, 230), (60, 180, 75), (250, 190, 60))


def class_id(category):
    """Returns the class of a COCO category, by its supercategory."""
    name = category['supercategory']
    return CLASSES.index(name if name in CLASSES else 'other thing')


def draw_mask(coco, image):
    """Returns an array (height, width) of class ids; large instances are drawn first, equal ones by id."""
    mask = np.zeros((image['height'], image['width']), dtype=np.uint8)
    annotations = coco.imgToAnns[image['id']]
    for annotation in sorted(annotations, key=lambda a: (-a['area'], a['id'])):
        mask[coco.annToMask(annotation) == 1] = class_id(coco.cats[annotation['category_id']])
    return mask


def save_mask(mask, path):
    mask_image = Image.fromarray(mask)
    mask_image.putpalette([value for color in PALETTE for value in color])
    mask_image.save(path, optimize=True)


def make_masks(instances_json, out_dir):
    coco = COCO(str(instances_json))
    images = coco.dataset['images']
    out_dir.mkdir(parents=True, exist_ok=True)
    for image in images:
        save_mask(draw_mask(coco, image), out_dir / f'{Path(image["file_name"]).stem}.png')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('instances_json', type=Path, help='annotation file in COCO format')
    parser.add_argument('out_dir', type=Path, help='folder for the PNG masks')
    args = parser.parse_args()
    try:
        make_masks(args.instances_json, args.out_dir)
    except (AssertionError, KeyError, OSError, TypeError, ValueError) as error:
        parser.error(f'{args.instances_json} -> {args.out_dir}: {type(error).__name__}: {error}'.split('\n')[0])


if __name__ == '__main__':
    main()
