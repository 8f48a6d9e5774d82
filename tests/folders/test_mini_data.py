"""The example images in the repository are attributed and may be used; test_full_check.py has what is in them."""
import csv
import json
from pathlib import Path

from helpers import ROOT

DATA = ROOT / 'data'
COCO = DATA / 'coco_mini'
FLOWERS = DATA / 'flowers_mini'
ALLOWED_LICENSES = {4, 5, 7, 8}  # COCO's ids: CC BY, CC BY-SA, no known restrictions, US government


def instances(split):
    return json.loads((COCO / 'annotations' / f'instances_{split}.json').read_text())


def attribution(folder):
    with open(folder / 'attribution.csv', encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def image_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.jpg'))


def test_every_coco_image_is_attributed():
    rows = attribution(COCO)
    assert sorted(f'{row["split"]}/{row["file"]}' for row in rows) == image_files(COCO)
    assert all(all(row.values()) for row in rows)
    listed = {(row['file'], row['licence_url'], row['flickr_picture_url'], row['coco_url']) for row in rows}
    for content in map(instances, ('train', 'val')):
        urls = {entry['id']: entry['url'] for entry in content['licenses']}
        for image in content['images']:
            license_url = urls[image['license']]
            assert image['license'] in ALLOWED_LICENSES
            assert (image['file_name'], license_url, image['flickr_url'], image['coco_url']) in listed


def test_every_flower_image_is_attributed():
    rows = attribution(FLOWERS)
    assert sorted(row['file'] for row in rows) == image_files(FLOWERS)
    for row in rows:
        photo_id = Path(row['file']).name.split('_')[0]
        assert row['flickr_photo'] == f'https://www.flickr.com/photo.gne?id={photo_id}'
        assert row['licence'] == 'CC BY 2.0'
