"""`mmvit data convert` with YOLO and Pascal VOC data, which the tests write from data/coco_mini."""
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

pytest.importorskip('supervision')
COCO = ROOT / 'data/coco_mini'
CONTENT = {split: json.loads((COCO / f'annotations/instances_{split}.json').read_text()) for split in ('train', 'val')}
NAMES = {category['id']: category['name'] for category in CONTENT['val']['categories']}  # 80 ids between 1 and 90


def objects(content: dict) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Returns the class names and boxes of each image, without crowds."""
    files = {image['id']: image['file_name'] for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    found = {name: [] for name in files.values()}
    for entry in content['annotations']:
        if not entry['iscrowd']:
            found[files[entry['image_id']]].append((names[entry['category_id']], np.array(entry['bbox'])))
    return found


@pytest.fixture
def convert(run, tmp_path):
    return lambda: run('data convert', str(tmp_path / 'source'), str(tmp_path / 'out'))


@pytest.fixture
def error(convert, capsys):
    def error() -> str:
        with pytest.raises(SystemExit, match='1'):
            convert()
        return capsys.readouterr().err

    return error


def check(run, tmp_path: Path) -> None:
    printed = run('data check', str(ROOT / 'configs/retinanet_rest_s.py'), '--coco-folder',
                  str(tmp_path / 'out'), '--jobs', '1')
    assert printed.endswith('\n0 errors\n')


def converted(tmp_path: Path, part: str) -> dict:
    return json.loads((tmp_path / f'out/annotations/instances_{part}.json').read_text())


def assert_agree(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for image, several in expected.items():
        assert [name for name, _ in found[image]] == [name for name, _ in several]
        for (_, box), (_, original) in zip(found[image], several):
            np.testing.assert_allclose(box, original, atol=0.01)


def write_yolo(folder: Path, layout: str, split: str, outlines: bool = False) -> None:
    """Writes a split of data/coco_mini in YOLO format with COCO's category ids, which are not contiguous."""
    images, labels = (folder / layout.format(kind, split) for kind in ('images', 'labels'))
    labels.mkdir(parents=True)
    images.parent.mkdir(parents=True, exist_ok=True)
    images.symlink_to(COCO / split)
    content = CONTENT[split]
    for image in content['images']:
        size, lines = np.array([image['width'], image['height']]), []
        for entry in content['annotations']:
            if entry['image_id'] == image['id'] and not entry['iscrowd']:
                x, y, width, height = entry['bbox']
                values = np.array([x + width / 2, y + height / 2, width, height]).reshape(2, 2) / size
                if outlines:
                    values = np.array(entry['segmentation'][0]).reshape(-1, 2) / size
                lines.append(' '.join(map(str, [entry['category_id'], *values.ravel()])))
        Path(labels, image['file_name']).with_suffix('.txt').write_text('\n'.join(lines))


@pytest.mark.slow
@pytest.mark.parametrize('layout', ['{0}/{1}', '{1}/{0}'])
def test_boxes_of_yolo_are_kept(layout, convert, run, tmp_path):
    for split in CONTENT:
        write_yolo(tmp_path / 'source', layout, split)
    (tmp_path / 'source/data.yaml').write_text(json.dumps(dict(names=NAMES, train='elsewhere')))
    empty = min((tmp_path / 'source' / layout.format('labels', 'val')).iterdir())
    empty.write_text('')
    convert()
    for split, content in CONTENT.items():
        found, expected = objects(converted(tmp_path, split)), objects(content)
        if split == 'val':
            assert found[f'{empty.stem}.jpg'] == [] != expected.pop(f'{empty.stem}.jpg')
            del found[f'{empty.stem}.jpg']
        assert_agree(found, expected)
    check(run, tmp_path)


def test_parts_of_yolo_outlines_are_kept(convert, tmp_path):
    """An outline with several parts must not become a crowd, because mmdet ignores crowds."""
    write_yolo(tmp_path / 'source', '{0}/{1}', 'train', outlines=True)
    (tmp_path / 'source/data.yaml').write_text(json.dumps(dict(names=NAMES)))
    labels = min((tmp_path / 'source/labels/train').iterdir())
    thin = '0.1 0.1 0.2 0.1001 0.3 0.1 0.3 0.4 0.2 0.1002 0.1 0.4'
    turned = '0.5 0.2 0.7 0.4 0.5 0.6 0.3 0.4'  # an oriented box
    labels.write_text(f'3 {thin}\n1 {turned}\n1 0.5 0.5 0.2 0.2\n')
    convert()
    content = converted(tmp_path, 'train')
    assert not any(entry['iscrowd'] for entry in content['annotations'])
    assert all(min(map(len, entry['segmentation'])) >= 6 for entry in content['annotations'])
    image = next(image for image in content['images'] if image['file_name'] == f'{labels.stem}.jpg')
    width, height = image['width'], image['height']
    _, oriented, box = (entry['bbox'] for entry in content['annotations'] if entry['image_id'] == image['id'])
    np.testing.assert_allclose(oriented, [0.3 * width, 0.2 * height, 0.4 * width, 0.4 * height], atol=0.01)
    np.testing.assert_allclose(box, [0.4 * width, 0.4 * height, 0.2 * width, 0.2 * height], atol=0.01)


def write_voc(images: Path, annotations: Path, split: str, size: bool = True) -> None:
    annotations.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    sizes = {image['file_name']: (image['width'], image['height']) for image in CONTENT[split]['images']}
    for name, several in objects(CONTENT[split]).items():
        os.symlink(COCO / split / name, images / name)
        text = '<size><width>{}</width><height>{}</height></size>'.format(*sizes[name]) if size else ''
        for category, (x, y, width, height) in several:
            sides = dict(xmin=x + 1, ymin=y + 1, xmax=x + width, ymax=y + height)  # Pascal VOC counts pixels from 1
            text += f'<object><name>{category}</name><bndbox>'
            text += ''.join(f'<{key}>{value}</{key}>' for key, value in sides.items()) + '</bndbox></object>'
        (annotations / name).with_suffix('.xml').write_text(f'<annotation>{text}</annotation>')


@pytest.mark.slow
@pytest.mark.parametrize('layout', ['{0}/{1}', '{0}', 'lists'])
def test_splits_of_voc_share_their_classes(layout, convert, run, tmp_path):
    source = tmp_path / 'source'
    for split, content in CONTENT.items():
        images, annotations = (source / ('' if layout == 'lists' else layout.split('/')[0].format(split)) /
                               ('' if layout == '{0}' else name) for name in ('JPEGImages', 'Annotations'))
        write_voc(images, annotations, split)
        if layout == 'lists':
            (source / 'ImageSets/Main').mkdir(parents=True, exist_ok=True)
            stems = [Path(image['file_name']).stem for image in content['images']]
            (source / f'ImageSets/Main/{split}.txt').write_text('\n'.join(stems))
    convert()
    for split, content in CONTENT.items():
        assert_agree(objects(converted(tmp_path, split)), objects(content))
    assert converted(tmp_path, 'train')['categories'] == converted(tmp_path, 'val')['categories']
    check(run, tmp_path)


def test_images_without_a_split_and_rotated_by_exif(convert, tmp_path):
    (tmp_path / 'source/images').mkdir(parents=True)
    (tmp_path / 'source/labels').mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 20)).save(tmp_path / 'source/images/A.JPG', exif=exif)
    (tmp_path / 'source/labels/A.txt').write_text('1 0.5 0.25 0.5 0.5')
    (tmp_path / 'source/classes.txt').write_text('cat\ndog\n')
    assert '1 images, 2 classes, 1 objects' in convert()
    content = json.loads((tmp_path / 'out/annotations/instances.json').read_text())
    assert content['annotations'][0]['bbox'] == [5, 0, 10, 20] and content['annotations'][0]['category_id'] == 2
    assert (tmp_path / 'out/images/A.JPG').is_file() and not content['licenses']


@pytest.mark.parametrize('files, message', [
    ({}, 'is not a folder'), ({'data.yaml': 'names: [cat]'}, 'must have the folders images/{train,val} and labels/'),
    ({'data.yaml': 'nc: 1'}, 'names must be a list of classes'), ({'data.yaml': ']'}, 'cannot be converted'),
    ({'data.yaml': 'names: [cat]', 'images/b.jpg': '', 'labels/c.txt': ''}, 'no image in'),
    ({'data.yaml': 'names: {0: cat, 2: dog}', 'images/a.jpg': None, 'labels/a.txt': '1 .5 .5 .1 .1'},
     'a.txt has the class ids [1], but only [0, 2] have names'),
    ({'data.yaml': 'names: [cat]', 'images/a.jpg': None, 'labels/a.txt': '0 .5 .5 .1'}, 'expected at least 5 tokens'),
    ({'images/a.jpg': None, 'labels/a.txt': '0 .5 .5 .1 .1'}, 'YOLO data need data.yaml or classes.txt'),
    ({'a.jpg': None, 'a.xml': '<annotation>'}, 'a.xml: no element found'),
    ({'a.jpg': None, 'a.xml': '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}, 'a.xml: Entities'),
    ({'a.jpg': None, 'a.xml': '<a><size><width>7</width></size></a>'}, 'a.xml: size is 7 x 0 pixels'),
    ({'a.jpg': None, 'a.xml': '<a><object><name>cat</name></object></a>'}, 'a.xml: Missing bndbox'),
])
def test_data_that_cannot_be_converted(files, message, error, tmp_path):
    for name, text in files.items():
        path = tmp_path / 'source' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text) if text is not None else Image.new('RGB', (40, 20)).save(path)
    assert message in error()
    assert not (tmp_path / 'out').exists()


def test_yolo_boxes_in_pixels(error, tmp_path):
    """YOLO's boxes must be relative to the sides of the image."""
    (tmp_path / 'source/images').mkdir(parents=True)
    (tmp_path / 'source/labels').mkdir()
    Image.new('RGB', (40, 20)).save(tmp_path / 'source/images/a.jpg')
    (tmp_path / 'source/labels/a.txt').write_text('0 20 10 8 8')
    (tmp_path / 'source/data.yaml').write_text('names: [cat]')
    message = error()
    assert message.startswith('error: ') and 'box outside its image' in message


@pytest.fixture
def yolo(tmp_path):
    """Returns a function that writes a data set with one image; ``texts`` replace its labels and class names."""
    def yolo(image: str = 'a.jpg', **texts: bytes) -> None:
        for part in ('images', 'labels'):
            (tmp_path / 'source' / part).mkdir(parents=True)
        Image.new('RGB', (40, 20)).save(tmp_path / 'source/images' / image, format='JPEG')
        texts = {'labels': b'1 .5 .5 .5 .5', 'names': b'dog\ncat\n', **texts}
        (tmp_path / 'source/labels/a.txt').write_bytes(texts['labels'])
        (tmp_path / 'source/classes.txt').write_bytes(texts['names'])

    return yolo


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_encodings_of_text_files(encoding, yolo, convert, tmp_path):
    yolo(labels='1 .5 .5 .5 .5'.encode(encoding), names='dog \n cat\n'.encode(encoding))
    convert()
    content = json.loads((tmp_path / 'out/annotations/instances.json').read_text())
    assert [category['name'] for category in content['categories']] == ['dog', 'cat']
    assert content['annotations'][0]['bbox'] == [10, 5, 20, 10] and content['annotations'][0]['category_id'] == 2


@pytest.mark.parametrize('options, message', [
    (dict(names='caf\xe9'.encode('latin-1')), 'classes.txt is not in UTF-8'),
    (dict(labels='caf\xe9'.encode('latin-1')), 'source/labels/a.txt is not in UTF-8'),
    (dict(labels=b'1 .5 .5'), 'source/labels/a.txt'), (dict(names=b'cat\nCat'), "got 'cat' and 'Cat'"),
    (dict(image='a.jfif'), 'supervision does not read .*a.jfif; save')])
def test_invalid_yolo_files(options, message, yolo, error):
    yolo(**options)
    assert re.search(message, error())


def test_left_out_images_are_counted(yolo, error, run, tmp_path):
    yolo()
    (tmp_path / 'source/images/b.xyz').touch()
    message = error()
    assert '1 of 2 files left out: 1 .xyz; at most one in a hundred files' in message and '--allow-left-out' in message
    assert '1 images' in run('data convert', str(tmp_path / 'source'), str(tmp_path / 'out'), '--allow-left-out')


@pytest.mark.parametrize('other, message', [(' cat\n', None), ('Cat', "got 'cat' and 'Cat'")])
def test_class_names_of_voc_are_stripped(other, message, convert, error, tmp_path):
    (tmp_path / 'source/train').mkdir(parents=True)
    for stem, name in (('a', 'cat'), ('b', other)):
        Image.new('RGB', (40, 20)).save(tmp_path / f'source/train/{stem}.jpg')
        box = ''.join(f'<{key}>9</{key}>' for key in ('xmin', 'ymin')) + '<xmax>19</xmax><ymax>19</ymax>'
        (tmp_path / f'source/train/{stem}.xml').write_text(
            f'<annotation><object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>')
    if message:
        assert message in error()
    else:
        convert()
        assert [category['name'] for category in converted(tmp_path, 'train')['categories']] == ['cat']
