"""Names and files of outputs, for given predictions."""
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_folders import checked_folder
from helpers import raises
from PIL import Image
from pycocotools.coco import COCO

from mmvit.folders.class_lists import read_class_list
from mmvit.inference import Classification, Detection, Segmentation
from mmvit.inference.outputs import find_sources, write_predictions
from mmvit_backbones.errors import UsageError

PIXELS = np.zeros((500, 500, 3), np.uint8)


def test_names_of_outputs(tmp_path, monkeypatch):
    """Suffixes are kept only where names would be equal; folders inside a source are kept, without hidden files."""
    monkeypatch.chdir(tmp_path)
    for name in ('in/a.jpg', 'in/deep/a.jpg', 'in/deep/b.png', 'in/deep/b.jpg', 'in/notes.txt', '7',
                 'in/._a.jpg', 'in/.trash/b.jpg', 'c.d.jpg'):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    names = find_sources(['in', 'c.d.jpg', '7'])
    assert names == {'in/a.jpg': 'a', 'in/deep/a.jpg': 'deep/a', 'in/deep/b.jpg': 'deep/b.jpg',
                     'in/deep/b.png': 'deep/b.png', 'c.d.jpg': 'c.d', '7': '7'}
    with raises(UsageError, 'the name a.jpg '):
        find_sources(['in', 'in/deep/a.jpg'])


class Fixed:
    """Returns given results instead of predictions."""

    classes = ['cat', 'dog']
    category_ids, score_thr = None, .3

    def __init__(self, task: str, results: dict) -> None:
        self.task, self.results = task, results

    def __call__(self, names, batch_size, score_thr):
        if broken := [name for name in names if isinstance(self.results[name], str)]:
            raise UsageError(f'{broken[0]} is broken')
        return [self.results[name].from_score(score_thr) for name in names]


def about(name):
    return name, PIXELS, Fixed.classes, []


def write(out_dir, task, results, names, **options) -> list[str]:
    """Writes given results, or errors for names, and returns what `mmvit predict` prints."""
    found = dict(zip(names, results, strict=True))
    return list(map(str, write_predictions(Fixed(task, found), names, out_dir, **{'save_results': True, **options})))


def files(out_dir) -> set[str]:
    return {str(path.relative_to(out_dir)) for path in out_dir.rglob('*') if path.is_file()}


def test_classes_are_printed_and_written(tmp_path):
    found = Classification(*about('in/a.jpg'), np.array([1, 0]), np.array([.75, .25]))
    assert write(tmp_path, 'classification', [found, 'b.jpg'], {'in/a.jpg': 'x/a', 'b.jpg': 'b'}) == [
        f'in/a.jpg -> {tmp_path}/x/a.png dog 75.0%, cat 25.0%', 'error: b.jpg is broken']
    assert files(tmp_path) == {'x/a.png', 'results.csv'}
    rows = list(csv.reader((tmp_path / 'results.csv').read_text().splitlines()))
    assert rows == [['file', *(f'{kind}{i}' for i in range(1, 6) for kind in ('class', 'score'))],
                    ['in/a.jpg', 'dog', '0.75', 'cat', '0.25']]


def objects(name, *labels):
    return Detection(*about(name), np.array(labels, int), np.full(len(labels), .5),
                     np.array([[1, 2, 3, 4]] * len(labels), np.float32).reshape(-1, 4))


def test_objects_are_written(tmp_path):
    names = {name: name[0] for name in ('a.jpg', 'broken', 'b.jpg', 'c.jpg')}
    results = [objects('a.jpg', 1, 0), 'broken', objects('b.jpg', 0), objects('c.jpg')]
    write(tmp_path, 'detection', results, names)
    entries = json.loads((tmp_path / 'results.json').read_text())
    box = dict(score=.5, bbox=[1, 2, 2, 2])
    assert entries == [dict(box, image_id=1, category_id=2, file_name='a.jpg'),
                       dict(box, image_id=1, category_id=1, file_name='a.jpg'),
                       dict(box, image_id=3, category_id=1, file_name='b.jpg')]
    assert files(tmp_path) == {'a.png', 'b.png', 'c.png', 'results.json', 'annotations.json'}


def test_results_have_all_scores(tmp_path, monkeypatch):
    """The average precision needs them; drawings have those that a threshold leaves, which counts for both if given."""
    monkeypatch.setattr(Fixed, 'category_ids', [3, 7])
    found = objects('a.jpg', 1, 0)
    found.scores = np.array([.5, .01])
    drawings = {}
    for options, ids in ({}, [7, 3]), (dict(score_thr=0.), [7, 3]), (dict(score_thr=.1), [7]):
        write(tmp_path, 'detection', [found], {'a.jpg': 'a'}, **options)
        assert [entry['category_id'] for entry in json.loads((tmp_path / 'results.json').read_text())] == ids
        drawings[str(options)] = (tmp_path / 'a.png').read_bytes()
    assert drawings['{}'] == drawings[str(dict(score_thr=.1))] != drawings[str(dict(score_thr=0.))]


def test_segments_are_label_images(tmp_path):
    labels = np.zeros((500, 500), int)
    labels[:100] = 1
    write(tmp_path, 'segmentation', [Segmentation(*about('a.jpg'), labels)], {'a.jpg': 'x/a'})
    assert files(tmp_path) == {'x/a.png', 'labels/x/a.png', 'labels/classes.txt'}
    assert read_class_list(tmp_path / 'labels/classes.txt') == ('cat', 'dog')
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'labels/x/a.png')), labels)


def test_objects_become_labels(tmp_path, monkeypatch):
    """The file trains and is read by others; masks stay as they are, and an unreadable image keeps its number."""
    monkeypatch.setattr(Fixed, 'category_ids', [3, 7])
    folder = tmp_path / 'new'
    names = {f'{folder}/train/deep/{name}.jpg': f'deep/{name}' for name in 'abc'}
    (folder / 'train/deep').mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(PIXELS + np.uint8(number)).save(name)
    masks = np.zeros((4, 500, 500), bool)
    rows, columns = np.indices((500, 500))
    masks[0] = (rows - 100.3)**2 + (columns - 80)**2 < 45.2**2
    masks[0, 200:220, 300:301] = True  # of two parts
    masks[1] = masks[0] & ~(abs(rows - 100) + abs(columns - 80) < 9)
    masks[2, 490:500, 499] = True
    boxes = [[columns[mask].min(), rows[mask].min(), columns[mask].max() + 1, rows[mask].max() + 1] if mask.any()
             else [1, 2, 3, 4] for mask in masks]
    scores = np.array([.9, .5, .4, .39], np.float32)
    found = [Detection(*about(name), np.array([1, 0, 1, 1]), scores, np.array(boxes, np.float32), masks)
             for name in names]
    found[1] = 'broken'
    monkeypatch.setattr(Fixed, 'score_thr', .4)
    write(tmp_path, 'detection', found, names)
    content = json.loads((tmp_path / 'annotations.json').read_text())
    assert content['images'] == [dict(id=number, file_name=f'deep/{name}.jpg', width=500, height=500)
                                 for number, name in ((1, 'a'), (3, 'c'))]
    assert content['categories'] == [dict(id=3, name='cat'), dict(id=7, name='dog')]
    assert [each['image_id'] for each in content['annotations']] == [1, 1, 1, 3, 3, 3]
    assert [each['category_id'] for each in content['annotations'][:3]] == [7, 3, 7]
    assert [len(each['segmentation']) for each in content['annotations'][:3]] == [2, 2, 1]  # polygons, with a hole, too
    (folder / 'annotations').mkdir()
    file = folder / 'annotations/instances_train.json'
    shutil.copy(tmp_path / 'annotations.json', file)
    coco = COCO(file)
    for each, mask in zip(coco.anns.values(), masks[:3]):
        np.testing.assert_array_equal(coco.annToMask(each), mask)
        assert each['area'] == mask.sum() and not each['iscrowd']
    (folder / 'train/deep/b.jpg').unlink()
    read = checked_folder('coco_folder', folder, val_fraction=.5, out=str(tmp_path / 'lists'))
    assert read.classes == ('cat', 'dog') and read.has_masks
    sv = pytest.importorskip('supervision')
    others = sv.DetectionDataset.from_coco(str(folder / 'train'), str(file), force_masks=True)
    assert others.classes == ['cat', 'dog'] and sum(len(each.mask) for _, _, each in others) == 6


def test_masks_become_labels(tmp_path):
    """Moved to `masks/`, they train."""
    for part in 'images', 'masks':
        (tmp_path / part).mkdir()
    names = {f'{tmp_path}/images/{name}.png': name for name in 'ab'}
    labels = np.eye(500, dtype=int)
    for number, name in enumerate(names):
        Image.fromarray(PIXELS + np.uint8(number)).save(name)
    write(tmp_path, 'segmentation', [Segmentation(*about(name), labels) for name in names], names)
    shutil.copytree(tmp_path / 'labels', tmp_path / 'masks', dirs_exist_ok=True)
    shutil.move(tmp_path / 'masks/classes.txt', tmp_path)
    read = checked_folder('seg_folder', tmp_path, val_fraction=.5, out=str(tmp_path / 'lists'))
    assert read.classes == ('cat', 'dog')


@pytest.mark.parametrize('task, name, source', [
    ('detection', 'a', 'a.png'), ('segmentation', 'x', 'labels/x.png'), ('classification', 'x', 'results.csv'),
    ('detection', 'x', 'results.json'), ('detection', 'x', 'annotations.json'),
    ('segmentation', 'x', 'labels/classes.txt')])
def test_no_output_replaces_what_is_read(task, name, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('given/labels').mkdir(parents=True)
    Path('given', source).write_text('given', encoding='utf-8')
    image = f'given/{source}' if source.endswith('.png') else 'x.jpg'
    with raises(UsageError, 'out_dir', source, 'is read'):
        write_predictions(Fixed(task, {}), {image: name}, 'given', save_results=True, reads=[f'given/{source}'])


def test_results_are_complete_after_an_interrupt(tmp_path):
    results = {name: objects(name, 1) for name in ('a.jpg', 'b.jpg')}
    written = write_predictions(Fixed('detection', results), {'a.jpg': 'a', 'b.jpg': 'b'}, tmp_path, save_results=True)
    next(written)
    written.close()
    assert len(json.loads((tmp_path / 'results.json').read_text())) == 1
