"""The example data in the repository is complete, consistent and attributed."""
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

DATA = ROOT / 'data'
COCO = DATA / 'coco_mini'
CAMVID = DATA / 'camvid_mini'
FLOWERS = DATA / 'flowers_mini'
ALLOWED_LICENSES = {4, 5, 7, 8}  # COCO's ids: CC BY, CC BY-SA, no known restrictions, US government
SPLITS = pytest.mark.parametrize('split', ['train', 'val'])
SIZE_LIMIT = 15_000_000


def instances(split):
    return json.loads((COCO / 'annotations' / f'instances_{split}.json').read_text())


def attribution(folder):
    with open(folder / 'attribution.csv', encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def image_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.jpg'))


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


@SPLITS
def test_coco_images_exist_with_stated_size_and_allowed_license(split):
    images = instances(split)['images']
    assert images and sorted(image['file_name'] for image in images) == image_files(COCO / split)
    for image in images:
        assert image['license'] in ALLOWED_LICENSES
        with Image.open(COCO / split / image['file_name']) as opened:
            assert opened.size == (image['width'], image['height'])


def test_every_coco_image_is_attributed():
    rows = attribution(COCO)
    assert sorted(f'{row["split"]}/{row["file"]}' for row in rows) == image_files(COCO)
    assert all(all(row.values()) for row in rows)
    listed = {(row['file'], row['licence_url'], row['flickr_picture_url'], row['coco_url']) for row in rows}
    for content in map(instances, ('train', 'val')):
        urls = {entry['id']: entry['url'] for entry in content['licenses']}
        for image in content['images']:
            license_url = urls[image['license']]
            assert (image['file_name'], license_url, image['flickr_url'], image['coco_url']) in listed


def test_every_flower_image_is_attributed():
    rows = attribution(FLOWERS)
    assert sorted(row['file'] for row in rows) == image_files(FLOWERS)
    for row in rows:
        photo_id = Path(row['file']).name.split('_')[0]
        assert row['flickr_photo'] == f'https://www.flickr.com/photo.gne?id={photo_id}'
        assert row['licence'] == 'CC BY 2.0'


@pytest.mark.parametrize('images, masks, classes', [
    (COCO, COCO / 'semantic', 5), (CAMVID / 'images', CAMVID / 'masks', 11)], ids=['coco', 'camvid'])
def test_masks_have_the_size_of_the_image_and_valid_classes(images, masks, classes):
    for split in ('train', 'val'):
        files = sorted((masks / split).iterdir())
        assert [path.stem for path in files] == [Path(name).stem for name in image_files(images / split)]
        for path in files:
            with Image.open(images / split / f'{path.stem}.jpg') as image:
                assert pixels(path).shape == image.size[::-1]
            assert set(np.unique(pixels(path))) <= {*range(classes), 255}


def test_data_is_small():
    files = [path for folder in (COCO, CAMVID, FLOWERS) for path in folder.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < SIZE_LIMIT
