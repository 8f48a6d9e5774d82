"""Checks of the EXIF orientation and the labels of masks."""
import numpy as np
import pytest
from PIL import Image

from mmvit_backbones.data import masks
from mmvit_backbones.data.checks import sample_error
from mmvit_backbones.data.masks import check_masks
from mmvit_backbones.errors import UsageError


def write(folder, orientation: int = 1, of_mask: int = 1, size: tuple = (30, 20), mask_size: tuple = (30, 20)) -> dict:
    paths = [str(folder / name) for name in ('a.jpg', 'a.png')]
    labels = np.zeros(mask_size[::-1], np.uint8)
    labels[3:] = 1
    for path, image, tag in zip(paths, (Image.new('RGB', size), Image.fromarray(labels)), (orientation, of_mask)):
        exif = Image.Exif()
        exif[0x0112] = tag
        image.save(path, exif=exif)
    return dict([paths])


@pytest.mark.parametrize('changes, message', [
    (dict(orientation=3), 'EXIF orientation 3'), (dict(orientation=2), 'EXIF orientation 2'),
    (dict(orientation=6, size=(20, 20), mask_size=(20, 20)), 'a.jpg has the EXIF orientation 6'),
    (dict(orientation=6), r'30 x 20 pixels, but its image has 20 x 30 \(width x height\)'),
    (dict(of_mask=3), 'a.png has the EXIF orientation 3'),
    (dict(orientation=3, of_mask=3), 'a.png has the EXIF orientation 3')])
def test_orientation_that_does_not_fit(changes, message, tmp_path):
    """The frameworks apply the EXIF orientation to images, but never to masks."""
    (image, mask), = (pairs := write(tmp_path, **changes)).items()
    with pytest.raises(UsageError, match=message):
        check_masks(pairs, 1, needs_labels=True)
    assert sample_error((dict(img_path=image, seg_map_path=mask), 2))


@pytest.mark.parametrize('changes', [{}, dict(orientation=6, mask_size=(20, 30))])
def test_orientation_that_fits(changes, tmp_path):
    (image, mask), = (pairs := write(tmp_path, **changes)).items()
    check_masks(pairs, 1, needs_labels=True)
    assert not sample_error((dict(img_path=image, seg_map_path=mask), 2))


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
