"""Images and masks are opened once each, and what is seen in them is checked."""
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvit.folders.rasters import RASTER_RULES, Looks, Raster, Rasters, Remembered, seen_in, seen_in_all
from mmvit.folders.rules import apply


def problems(given, is_evaluated=False, needs_labels=False, names=()) -> list[tuple[bool, str]]:
    found = apply(RASTER_RULES, Rasters(seen_in_all(given), needs_labels, names), is_evaluated)
    return [(problem.is_error, problem.text) for problem in found]


@pytest.fixture
def raster(tmp_path):
    """Returns a function that writes a mask with the labels 0 and ``label``, and returns it with an image."""
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.png')

    def write(label: float = 1, size: tuple = (30, 20), last: float = 2, stated=None, mask='mask.png', mode=None):
        labels = np.zeros(size[::-1], np.uint8 if label < 256 else np.uint16)
        labels[3:] = label
        image = Image.fromarray(labels)
        (image.convert(mode) if mode else image).save(tmp_path / mask)
        return Raster(str(tmp_path / 'a.png'), stated, str(tmp_path / mask), last)

    return write


@pytest.mark.parametrize('options, error', [
    (dict(label=2), ''), (dict(label=3), '0 to 2 and 255'), (dict(label=255), ''), (dict(label=300), '[300]'),
    (dict(label=9, last=np.inf), ''), (dict(label=1, mode='1', last=255), ''), (dict(label=1, mode='LA'), 'channel'),
    (dict(label=1, mode='F', mask='a.tif', last=.5), 'labels [1'), (dict(label=1, mode='RGB'), 'channel'),
    (dict(size=(30, 21)), 'but its image has 30 x 20'), (dict(size=(31, 20)), 'mask.png has 31 x 20'),
    (dict(stated=(30, 20)), ''), (dict(stated=(30, 21)), '30 x 20 pixels, but the annotations say 30 x 21')])
def test_faults_of_a_raster(options, error, raster):
    found = problems([raster(**options)])
    assert bool(found) == bool(error) and all(is_error and error in text for is_error, text in found), found


def test_masks_of_another_size_end_an_evaluation(tmp_path, raster):
    """Training resizes and crops them."""
    good, bad = raster(), raster(size=(9, 9), mask='bad.png')
    (is_error, text), = problems([good, good, bad])
    assert not is_error and 'bad.png has 9 x 9 pixels' in text
    (is_error, text), = problems([good, good, bad], is_evaluated=True)
    assert is_error and 'bad.png has 9 x 9 pixels' in text


def of_labels(folder, labels) -> list[Raster]:
    Image.new('RGB', (30, 20)).save(folder / 'a.png')
    for number, label in enumerate(labels):
        Image.new('L', (30, 20), label).save(folder / f'{number}.png')
    return [Raster(str(folder / 'a.png'), mask=str(folder / f'{number}.png'), last=1) for number in range(len(labels))]


def test_a_wrong_label_in_the_last_of_many_masks(tmp_path):
    error, = problems(of_labels(tmp_path, [0, 1] * 120 + [9]))
    assert error[0] and f'mask {tmp_path}/240.png has labels [9]; allowed are 0 to 1 and 255' in error[1]


def test_masks_are_read_again_only_if_they_have_changed(tmp_path):
    """Another size or time of image or mask counts, and so does another number of classes."""
    given = of_labels(tmp_path, [0, 1, 0])
    read = []

    def found(rasters=given) -> list[str]:
        def look_and_count(new):
            read.extend(new)
            return seen_in_all(new)
        looks = Looks(look_and_count, remembered=Remembered(str(tmp_path / 'recipe/masks.json')))
        read.clear()
        return [problem.text for problem in looks.problems(rasters, False, True)]

    assert not found() and read == given
    assert not found() and not read
    changed = [raster._replace(last=0) for raster in given]
    assert '[1]; allowed are 0 to 0' in found(changed)[0] and not read
    Image.new('L', (30, 20), 7).save(given[2].mask)
    os.utime(given[2].mask, ns=(0, 0))
    assert '2.png has labels [7]' in found()[0] and read == given[2:]
    Path(given[1].mask).write_bytes(b'no mask')
    assert '1.png cannot be read' in found()[0] and read == [given[1]]
    found()
    assert read == [given[1]]  # what has a fault may be repaired
    os.utime(given[0].image, ns=(0, 0))  # the image of all
    found()
    assert read == given
    (tmp_path / 'recipe/masks.json').write_text('{"version": ')
    found()
    assert read == given


def test_classes_that_no_mask_has_are_named(tmp_path):
    rasters = of_labels(tmp_path, [0, 255])
    for names, count in (['a'], 0), (['a', 'b', 'c'], 1):
        found = [text for is_error, text in problems(rasters, names=names) if not is_error and 'classes' in text]
        assert len(found) == count and all('b, c' in text for text in found)


def test_masks_of_ignored_pixels(tmp_path):
    (is_error, text), = problems(of_labels(tmp_path, [0, 255]))
    assert is_error and 'only the ignored label 255' in text and '1 of 2' in text
    (is_error, text), = problems(of_labels(tmp_path, [0, 0, 255]))
    assert not is_error
    assert any(is_error and 'only the labels [0]' in text
               for is_error, text in problems(of_labels(tmp_path, [0, 0, 0]), needs_labels=True))


def test_masks_have_the_size_of_the_rotated_image(raster):
    """The frameworks apply the EXIF orientation to images, but never to masks."""
    given = raster()
    assert not problems([given])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(given.image, exif=exif)
    assert '30 x 20 pixels, but its image has 20 x 30' in problems([given])[0][1]


@pytest.mark.parametrize('name', ['a.png', 'mask.png'])
def test_damaged_files(name, tmp_path, raster):
    given = raster()
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:len(content) // 2])
    for decodes in True, False:
        seen = seen_in(given, decodes)
        assert 'cannot be read' in seen.fault + seen.mask_fault
    assert [is_error for is_error, _ in problems([given])] == [True]


@pytest.mark.parametrize('name', ['a.tif', 'a.gif'])
def test_a_stack_of_pages_is_named(name, tmp_path):
    pages = [Image.new('RGB', (8, 8), (40 * i, 0, 0)) for i in range(3)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    problem, = apply(RASTER_RULES, Rasters(seen_in_all([Raster(str(tmp_path / name))])), is_evaluated=True)
    assert name in problem.text and '3 pages' in problem.text and not problem.is_error
