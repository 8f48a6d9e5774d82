"""Names and files of outputs, for given predictions."""
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import raises
from PIL import Image

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
    category_ids = None

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
    assert files(tmp_path) == {'a.png', 'b.png', 'c.png', 'results.json'}


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
    assert files(tmp_path) == {'x/a.png', 'labels/x/a.png'}
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'labels/x/a.png')), labels)


@pytest.mark.parametrize('task, name, source', [
    ('detection', 'a', 'a.png'), ('segmentation', 'x', 'labels/x.png'), ('classification', 'x', 'results.csv'),
    ('detection', 'x', 'results.json')])
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
