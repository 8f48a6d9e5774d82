"""Checks of the sizes and the labels of masks."""
import numpy as np
import pytest
from helpers import raises
from PIL import Image

from mmvit.folders import masks
from mmvit.folders.masks import check_labels, check_masks
from mmvit_backbones.errors import UsageError


def write(folder) -> dict:
    paths = [str(folder / name) for name in ('a.jpg', 'a.png')]
    labels = np.zeros((20, 30), np.uint8)
    labels[3:] = 1
    for path, image in zip(paths, (Image.new('RGB', (30, 20)), Image.fromarray(labels))):
        image.save(path)
    return dict([paths])


def test_masks_after_those_of_all_classes_are_checked(tmp_path):
    """After two labels have been found, a later mask may still have an invalid label."""
    pairs = {}
    for number, label in enumerate([1, 1, 9]):
        (tmp_path / str(number)).mkdir()
        pairs |= write(tmp_path / str(number))
        labels = np.zeros((20, 30), np.uint8)
        labels[3:] = label
        Image.fromarray(labels).save(tmp_path / str(number) / 'a.png')
    with pytest.raises(UsageError, match='9'):
        check_masks(pairs, 1, needs_labels=True)


def test_wrong_masks_are_compared_with_all_masks_that_were_read(tmp_path, monkeypatch):
    """Until two labels have been found, more masks are read than usual."""
    monkeypatch.setattr(masks, 'MASKS_TO_CHECK', 2)
    pairs = {}
    for number, label in enumerate([255, 0, 0, 255, 0, 1]):  # the first two to be read are those of 255
        (tmp_path / str(number)).mkdir()
        pairs |= write(tmp_path / str(number))
        Image.new('L', (30, 20), label).save(tmp_path / str(number) / 'a.png')
    check_masks(pairs, 1, needs_labels=True)


def write_labels(folder, labels) -> dict:
    """Writes images with a mask of one label each."""
    pairs = {}
    for number, label in enumerate(labels):
        (folder / str(number)).mkdir()
        pairs |= write(folder / str(number))
        Image.fromarray(np.full((20, 30), label, np.uint8)).save(folder / str(number) / 'a.png')
    return pairs


def test_checks_end_with_enough_masks_and_two_labels(tmp_path, monkeypatch):
    """Masks from the whole data set are read first; here, the first and the third."""
    monkeypatch.setattr(masks, 'MASKS_TO_CHECK', 2)
    check_masks(write_labels(tmp_path, [0, 9, 1, 9]), 1, needs_labels=True)


@pytest.mark.parametrize('labels, is_error', [([0, 255], True), ([0, 0, 255], False)])
def test_masks_of_ignored_pixels(labels, is_error, tmp_path, capsys):
    pairs = write_labels(tmp_path, labels)
    if is_error:
        with raises(UsageError, list(pairs.values())[-1], 'only the ignored label 255', '1 of 2'):
            check_masks(pairs, 1, needs_labels=False)
    else:
        check_masks(pairs, 1, needs_labels=False)
        assert '1 of 3 checks failed' in capsys.readouterr().err
        with raises(UsageError, 'only the labels [0]', next(iter(pairs))):
            check_masks(pairs, 1, needs_labels=True)


def test_masks_have_the_size_of_the_rotated_image(tmp_path):
    """The frameworks apply the EXIF orientation to images, but never to masks."""
    (image, mask), = (pairs := write(tmp_path)).items()
    check_masks(pairs, 1, needs_labels=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(image, exif=exif)
    with raises(UsageError, mask, '30 x 20 pixels, but its image has 20 x 30'):
        check_masks(pairs, 1, needs_labels=True)


def test_labels_of_a_mask():
    labels = np.array([[0, 1, 2, 255]])
    check_labels('a.png', labels, 2)
    with raises(UsageError, 'a.png', 'labels [2]', '0 to 1 and 255'):
        check_labels('a.png', labels, 1)
    with raises(UsageError, 'labels [2, 3, 4, 5, 6];'):
        check_labels('a.png', np.arange(10)[None], 1)
    with raises(UsageError, 'a.png', 'one channel', 'got 3'):
        check_labels('a.png', np.zeros((2, 2, 3), int), 1)
