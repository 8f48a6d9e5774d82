"""What is seen in images and masks is checked."""
import numpy as np
import pytest
from PIL import Image

from mmvit.folders.rasters import Raster, raster_problems, sample_of


def problems(given, is_evaluated=False, names=()) -> list[tuple[bool, str]]:
    return [(problem.is_error, problem.text) for problem in raster_problems(given, is_evaluated, names)]


@pytest.fixture
def raster(tmp_path):
    """Returns a function that writes a mask with the labels 0 and ``label``, and returns it with an image."""
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.png')

    def write(label: float = 1, size: tuple = (30, 20), mask='mask.png', mode=None, last: float = 2, **stated):
        labels = np.zeros(size[::-1], np.uint8 if label < 256 else np.uint16)
        labels[3:] = label
        image = Image.fromarray(labels)
        (image.convert(mode) if mode else image).save(tmp_path / mask)
        return Raster(str(tmp_path / 'a.png'), mask=str(tmp_path / mask), last=last, **stated)

    return write


@pytest.mark.parametrize('options, error', [
    (dict(label=2), ''), (dict(label=3), '0 to 2 and 255'), (dict(label=255), ''), (dict(label=300), '[300]'),
    (dict(label=255, ignored=7), '[255]; allowed are 0 to 2 and 7'), (dict(label=7, ignored=7), ''),
    (dict(label=9, last=np.inf), ''), (dict(mode='1', last=1), ''), (dict(mode='LA'), 'one channel'),
    (dict(mode='F', mask='a.tif', last=.5), 'labels [1'), (dict(mode='RGB'), 'one channel'), (dict(mode='P'), ''),
    (dict(size=(30, 21)), 'but its image has 30 x 20'), (dict(size=(31, 20), mask='b.png'), 'b.png has 31 x 20'),
    (dict(stated_size=(30, 20)), ''), (dict(stated_size=(30, 21)), '30 x 20 pixels, but the annotations say 30 x 21')])
def test_faults_of_a_raster(options, error, raster):
    stated = dict(options)
    size = stated.pop('stated_size', None)
    found = problems([raster(**stated)._replace(size=size)])
    assert bool(found) == bool(error) and all(is_error and error in text for is_error, text in found), found


def of_labels(folder, labels) -> list[Raster]:
    Image.new('RGB', (30, 20)).save(folder / 'a.png')
    for number, label in enumerate(labels):
        Image.new('L', (30, 20), label).save(folder / f'{number}.png')
    return [Raster(str(folder / 'a.png'), mask=str(folder / f'{number}.png'), last=1) for number in range(len(labels))]


def test_a_wrong_label_in_the_last_of_many_masks(tmp_path):
    """A test looks at all masks, and a training at up to 100 of a config's."""
    rasters = of_labels(tmp_path, [0, 1] * 120 + [9, 1])
    error, = problems(rasters)
    assert error[0] and f'mask {tmp_path}/240.png has labels [9]; allowed are 0 to 1 and 255' in error[1]
    assert sample_of(rasters, is_tested=True) == rasters and 50 < len(sample_of(rasters)) <= 100


@pytest.mark.parametrize('labels, words, is_error', [
    ([0, 0, 0], 'only the labels [0]', True), ([0, 1, 1], 'no training mask has the classes c', False)])
def test_labels_of_all_masks(labels, words, is_error, tmp_path):
    assert any(found == is_error and words in text
               for found, text in problems(of_labels(tmp_path, labels), names=['a', 'b', 'c']))


def test_masks_have_the_size_of_the_turned_image(raster):
    """The frameworks apply the EXIF orientation to images, but never to masks."""
    given = raster()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(given.image, exif=exif)
    assert '30 x 20 pixels, but its image has 20 x 30' in problems([given])[0][1]


@pytest.mark.parametrize('name', ['a.png', 'mask.png'])
def test_damaged_files(name, tmp_path, raster):
    given = raster()
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:len(content) // 2])
    for is_full in False, True:
        problem, = raster_problems([given], is_evaluated=False, is_full=is_full)
        assert problem.is_error and f'{name} cannot be read' in problem.text
