"""Makes a detection set: objects of coco_mini's training images, cut out by their masks, on streets of camvid_mini.

Objects are turned, mirrored, scaled, brightened and overlap. The test has streets of another film, and the same 72
objects: with others, of two to four of most kinds, AP is 5 to 9, whatever the settings. 200 images of 256 x 256 pixels
are trained on, 100 tested; they follow from a seed, and none is in the repository.
"""
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

SIDE = 256
COUNTS = dict(train=200, val=100)
FILM = '0006R0'  # whose frames are the test's streets
MOST_PEOPLE = 0.01  # share of a street's pixels
LEAST_OBJECTS = 4  # of a kind
LEAST_AREA, LEAST_SIDE = 900, 24  # in pixels, of an object that is cut out
MOST_IN_IMAGE = 6
LONG_SIDES = 32, 144  # in pixels, of an object in its place
LEAST_SEEN = 0.4  # share of an object that is not covered


def write_objects(data: Path, out: Path) -> None:
    """Writes images, and annotations with masks, in COCO's layout to a folder, if it is not there."""
    if (out / 'annotations/instances_val.json').exists():
        return
    rng, kinds = np.random.default_rng(0), cut_out(data / 'coco_mini')
    names = sorted(kinds)
    for part, total in COUNTS.items():
        streets = find_streets(data / 'camvid_mini', is_test=part == 'val')
        images, annotations = [], []
        (out / part).mkdir(parents=True, exist_ok=True)
        for i in range(1, total + 1):
            picture, found = paste(rng, take_street(rng, streets), kinds)
            images.append(dict(id=i, file_name=f'{i}.png', width=SIDE, height=SIDE))
            cv2.imwrite(str(out / part / f'{i}.png'), picture)
            for name, mask in found:
                lengths: Any = run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))
                annotations.append(dict(
                    id=len(annotations) + 1, image_id=i, category_id=names.index(name) + 1, iscrowd=0,
                    area=int(mask.sum()), bbox=run_lengths.toBbox(lengths).tolist(),
                    segmentation=dict(size=lengths['size'], counts=lengths['counts'].decode())))
        file = out / f'annotations/instances_{part}.json'
        file.parent.mkdir(exist_ok=True)
        categories = [dict(id=k, name=name) for k, name in enumerate(names, 1)]
        file.write_text(json.dumps(dict(images=images, categories=categories, annotations=annotations)),
                        encoding='utf-8')


def cut_out(folder: Path) -> dict[str, list[np.ndarray]]:
    """Returns the objects of each kind, BGR and mask ``(height, width, 4)`` in 8 bits."""
    coco, found = COCO(str(folder / 'annotations/instances_train.json')), {}
    for each in coco.loadAnns(coco.getAnnIds(iscrowd=False)):
        left, top, width, height = (round(value) for value in each['bbox'])
        if each['area'] >= LEAST_AREA and min(width, height) >= LEAST_SIDE:
            image = cv2.imread(str(folder / 'train' / coco.imgs[each['image_id']]['file_name']))
            whole = np.dstack([image, 255 * coco.annToMask(each)])
            kind = coco.cats[each['category_id']]['name']
            found.setdefault(kind, []).append(whole[top:top + height, left:left + width])
    return {kind: cut for kind, cut in found.items() if len(cut) >= LEAST_OBJECTS}


def find_streets(folder: Path, is_test: bool) -> list[np.ndarray]:
    """Returns the frames of a part's films with few people, BGR ``(height, width, 3)``."""
    names = (folder / 'classes.txt').read_text(encoding='utf-8').split()
    people, found = [names.index('pedestrian'), names.index('bicyclist')], []
    for file in sorted(folder.glob('images/*/*.jpg')):
        mask = cv2.imread(str(folder / 'masks' / file.parent.name / f'{file.stem}.png'), cv2.IMREAD_UNCHANGED)
        if file.name.startswith(FILM) == is_test and np.isin(mask, people).mean() <= MOST_PEOPLE:
            found.append(cv2.imread(str(file)))
    return found


def take_street(rng: np.random.Generator, streets: list[np.ndarray]) -> np.ndarray:
    """Returns a square crop of a frame, enlarged to the side of the images."""
    street = streets[rng.integers(len(streets))]
    side = int(rng.integers(120, min(street.shape[:2]) + 1))
    top, left = (rng.integers(length - side + 1) for length in street.shape[:2])
    crop = street[top:top + side, left:left + side]
    return cv2.resize(crop[:, ::rng.choice([-1, 1])], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def paste(rng: np.random.Generator, image: np.ndarray, kinds: dict[str, list[np.ndarray]]
          ) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """Returns an image with objects, and the kind and the mask ``(height, width)`` of what is seen of each."""
    found: list[tuple[str, np.ndarray, int]] = []
    for _ in range(rng.integers(1, MOST_IN_IMAGE + 1)):
        kind = str(rng.choice(sorted(kinds)))
        one = place(rng, kinds[kind][rng.integers(len(kinds[kind]))])
        alpha = one[..., 3:] / 255
        mask = alpha[..., 0] > .5
        rest = [(other, seen & ~mask, area) for other, seen, area in found]
        if mask.sum() < 64 or any(seen.sum() < LEAST_SEEN * area for _, seen, area in rest):
            continue
        image = (image * (1 - alpha) + one[..., :3] * rng.uniform(.8, 1.2) * alpha).clip(0, 255)
        found = [*rest, (kind, mask, int(mask.sum()))]
    return image.astype(np.uint8), [(kind, seen) for kind, seen, _ in found]


def place(rng: np.random.Generator, one: np.ndarray) -> np.ndarray:
    """Returns an object turned, mirrored and scaled in an empty image ``(SIDE, SIDE, 4)``."""
    height, width = one.shape[:2]
    scale = np.exp(rng.uniform(*np.log(LONG_SIDES))) / max(height, width)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-40, 40), scale)
    turn[:, 2] += rng.uniform(.1 * SIDE, .9 * SIDE, 2) - (width / 2, height / 2)
    one = one[:, ::rng.choice([-1, 1])]
    if scale < 1:  # else small ones are jagged
        one = cv2.GaussianBlur(one, (0, 0), .4 / scale)
    return cv2.warpAffine(one, turn, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
