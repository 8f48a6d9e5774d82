"""Results have the documented values, and drawings show each item in its color at its place."""
import numpy as np
import pytest
from pycocotools.mask import area

from mmvit.inference import Classification, Detection, Segmentation
from mmvit.predictions.results import result_of

RED, GREEN = (200, 20, 20), (20, 200, 20)


def about(height=500, width=2000, palette=(RED, GREEN)):
    return 'a.jpg', np.zeros((height, width, 3), np.uint8), ['cat', 'dog'], list(palette)


def objects(boxes, labels=None, **size) -> Detection:
    labels = np.arange(len(boxes)) if labels is None else np.array(labels)
    return Detection(*about(**size), labels, np.linspace(.9, .8, len(boxes)), np.array(boxes, np.float32))


def colors(drawing, x, rows) -> list[tuple]:
    return [drawing.getpixel((x, y)) for y in rows]


def test_values():
    """Scores have six decimals and coordinates have two; a class without a name is called by its number."""
    found = objects([[1.236, 2.16, 10.518, 8], [0, 1, 2, 3], [0, 0, 1, 1]], [1, 2, 7], height=20, width=30)
    found.scores = np.array([.12345678, .1, 0])
    names = ['dog', '2', '7']
    assert found.to_dict() == dict(source='a.jpg', height=20, width=30, items=[
        dict(category=name, label=label, score=score, box=box) for name, label, score, box in zip(
            names, [1, 2, 7], [.123457, .1, 0], [[1.24, 2.16, 10.52, 8], [0, 1, 2, 3], [0, 0, 1, 1]])])
    first, second, _ = found.to_coco(7)
    assert first == dict(image_id=7, category_id=2, score=.123457, bbox=[1.24, 2.16, 9.28, 5.84])
    assert (second['category_id'], second['bbox']) == (3, [0, 1, 2, 2])
    assert [entry['category_id'] for entry in found.to_coco(7, list(range(20, 40)))] == [21, 22, 27]
    assert repr(found) == "Detection('a.jpg', 30 x 20: dog 12.3%, 2 10.0%, 7 0.0%)"
    found.masks = np.zeros((3, 20, 30), bool)
    found.masks[0, 5:10, 8:20] = True
    assert area([entry['segmentation'] for entry in found.to_coco(7)]).tolist() == [60, 0, 0]
    nothing = found.from_score(1)
    assert 'nothing' in repr(nothing) and nothing.to_coco(7) == nothing.to_dict()['items'] == []
    assert nothing.draw().size == (18 * 30, 18 * 20)


def test_outputs_become_results():
    """Objects below the threshold are left out; objects and classes are ranked, equal scores in their order."""
    image = np.zeros((4, 6, 3), np.uint8)
    outputs = dict(labels=np.array([3, 1, 0]), scores=np.array([.9, .3, .2]), boxes=np.arange(12).reshape(3, 4))
    unsorted = {name: values[[1, 2, 0]] for name, values in outputs.items()}
    assert result_of(unsorted, 'a', image, [], [], 0).boxes.tolist() == outputs['boxes'].tolist()
    for threshold, number in (None, 2), (.3, 2), (.31, 1), (0, 3):
        found = result_of(outputs, 'a', image, [], [], *([] if threshold is None else [threshold]))
        assert isinstance(found, Detection) and found.masks is None
        assert found.labels.tolist() == [3, 1, 0][:number]
        assert found.boxes.tolist() == outputs['boxes'][:number].tolist()
    scores = np.array([.1, .4, .4, .05, .02, .02, .01])
    found = result_of(dict(scores=scores), 'a', image, [], [])
    assert isinstance(found, Classification) and found.labels.tolist() == [1, 2, 0, 3, 4, 5, 6]
    assert [(item['label'], item['score']) for item in found.items()] == [(1, .4), (2, .4), (0, .1), (3, .05), (4, .02)]
    assert repr(found) == "Classification('a', 6 x 4: 1 40.0%, 2 40.0%, 0 10.0%, 3 5.0%, 4 2.0%)"
    segmentation = np.array([[1, 1, 0], [1, 255, 255]])
    found = result_of(dict(segmentation=segmentation), 'a', image[:2, :3], [], [RED])
    assert isinstance(found, Segmentation)
    assert [(item['label'], item['score']) for item in found.items()] == [(1, .5), (0, pytest.approx(1 / 6))]
    assert [item['mask'].tolist() for item in found.items()] == [(segmentation == label).tolist() for label in (1, 0)]
    assert repr(found) == "Segmentation('a', 3 x 2: 1 50.0%, 0 16.7%)"
    palette = np.array(found.label_image().getpalette()).reshape(-1, 3)
    assert [tuple(color) for color in palette.tolist()] == [RED, *(found.color(label) for label in range(1, 256))]
    for labels, names in ([[1, 299]], []), ([[1, 2]], ['a'] * 257):  # 8 bits would wrap
        found = result_of(dict(segmentation=np.array(labels)), 'a', image[:1, :2], names, [])
        assert found.label_image().mode == 'I;16' and np.array(found.label_image()).tolist() == labels


def test_boxes_and_their_labels_are_drawn():
    """A label is above its box, but always inside the image; the best object is on top."""
    drawing = objects([[100, 200, 300, 260], [1990, 0, 2000, 90]]).draw()
    assert drawing.size == (2000, 500)
    black = (0, 0, 0)
    assert colors(drawing, 101, [166, 169, 198]) == [black, RED, RED]  # the label
    assert colors(drawing, 250, [199, 200, 202, 203, 257, 258, 260, 261]) == [black, RED, RED, *[black] * 2, *[RED] * 2,
                                                                              black]
    assert drawing.getpixel((299, 230)) == RED and drawing.getpixel((301, 230)) == black
    assert [drawing.getpixel((x, 1)) for x in (1999, 1930)] == [GREEN] * 2  # the label is left of the right edge
    assert colors(drawing, 1930, [31, 34]) == [GREEN, black]
    twice = objects([[40, 100, 80, 140]] * 2, height=300, width=300).draw()  # enlarged by 2
    assert twice.size == (600, 600)
    assert [twice.getpixel((x, 240)) for x in (79, 80, 81, 82, 159, 160, 161)] == [black, RED, RED, black, RED, RED,
                                                                                  black]
    wrong = objects([[90, 90, 40, 40]], height=100, width=100)  # a model may predict it
    assert wrong.draw().getpixel((450, 450)) == RED
    long = objects([[50, 50, 90, 90]], height=100, width=100)
    long.classes = ['x' * 200]
    drawing = long.draw()
    assert [drawing.getpixel((x, 240)) for x in (4, 499)] == [RED] * 2  # from edge to edge


@pytest.mark.parametrize('kind', [Classification, Detection])
def test_scores_of_long_names_are_drawn(kind):
    boxes = (np.array([[10, 50, 90, 90]]), ) if kind is Detection else ()

    def draw(score: float) -> bytes:
        about = 'a.jpg', np.zeros((900, 150, 3), np.uint8), ['a dog of a long name, ' * 4], [RED]
        return kind(*about, np.array([0]), np.array([score]), *boxes).draw().tobytes()

    assert draw(0.9) != draw(0.8)


def test_classes_are_listed_best_first():
    drawing = Classification(*about(), np.array([1, 0]), np.array([.7, .3])).draw()
    assert colors(drawing, 1, [0, 31, 33, 63, 66]) == [GREEN, GREEN, RED, RED, (0, 0, 0)]


@pytest.mark.parametrize('color, is_white', [
    ((139, ) * 3, True), ((141, ) * 3, False), ((255, 0, 0), True), ((0, 255, 0), False), ((0, 0, 255), True)])
def test_text_contrasts_with_its_background(color, is_white):
    drawing = np.array(Classification(*about(palette=[color]), np.array([0]), np.array([1.])).draw())
    label = drawing[:32, :100].reshape(-1, 3).tolist()
    assert ([255] * 3 in label) == is_white and ([0] * 3 in label) != is_white


def test_masks_are_drawn():
    """The image is as visible under many masks as under one."""
    masks = np.zeros((2, 500, 500), bool)
    masks[0, 200:300, 100:400] = masks[1, 200:, 100:] = True
    found = objects([[0, 0, 0, 0]] * 2, height=500, width=500)
    found.image[:] = 100
    found.masks = masks
    drawing = found.draw()
    above, below = (tuple(round(60 + .4 * value) for value in color) for color in (RED, GREEN))
    assert colors(drawing, 250, [199, 200, 299, 300, 499]) == [(100, 100, 100), above, above, below, below]
