"""Exported files are recognized, and code in them is not executed."""
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.export import Dim
from torch.export.pt2_archive._package import package_pt2

from mmvit_backbones.errors import UsageError
from mmvit_backbones.inference import Classification, Detection, Predictor, Segmentation, read_rgb
from mmvit_backbones.inference.runtimes import DETAILS, PARTS

IMAGE = np.full((2, 4, 3), 7, dtype=np.uint8)


class MeanColor(nn.Module):
    """A classifier of three classes: the channels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((1, 2))


class Last(nn.Module):

    def forward(self, image: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores / 7


class Run:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.fixture
def file(tmp_path):
    images, scores = torch.from_numpy(np.stack([IMAGE] * 2)), torch.zeros(2, 3)
    free, batch = {axis: Dim.DYNAMIC for axis in range(3)}, {0: Dim.DYNAMIC}
    parts = [(MeanColor(), (images, ), (free, )), (nn.Linear(3, 3), (scores, ), (batch, )),
             (Last(), (images, scores), (free, batch))]
    details = dict(task='classification', classes=['red', 'green', 'blue'], palette=[], outputs=[dict(name='scores')],
                   preprocessing=dict(inside=True))
    package_pt2(str(tmp_path / 'model.pt2'), extra_files={DETAILS: json.dumps(details)},
                exported_programs={name: torch.export.export(module, example, dynamic_shapes=shapes)
                                   for name, (module, example, shapes) in zip(PARTS, parts)})
    return tmp_path / 'model.pt2'


def rewrite(file, change):
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, 'w') as archive:
        for name, data in change(content).items():
            archive.writestr(name, data)


def test_file_predicts(file):
    found, = Predictor(file)(IMAGE)
    assert sorted(found.labels) == [0, 1, 2] and found.scores.shape == (3, )
    assert [item['category'] for item in found.to_dict()['items']] == [found.name(label) for label in found.labels]
    assert found.draw().size == (4 * 156, 2 * 156)


def test_pickled_objects_are_refused(file, tmp_path):
    stream = io.BytesIO()
    torch.save(Run(tmp_path / 'was_run'), stream)
    inputs = [name for name in zipfile.ZipFile(file).namelist() if 'sample_inputs' in name]
    assert inputs
    rewrite(file, lambda content: {**content, **dict.fromkeys(inputs, stream.getvalue())})
    with pytest.raises(UsageError, match='objects that could run code'):
        Predictor(file)
    assert not (tmp_path / 'was_run').exists()


def test_compiled_code_is_refused(file):
    rewrite(file, lambda content: {**content, 'model/data/aotinductor/model/model.so': b''})
    with pytest.raises(UsageError, match='contains compiled code.* load it with trust_code=True'):
        Predictor(file)


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_images_are_decoded_as_for_training(tmp_path):
    """Orientation, CMYK, 16 bits, alpha, gray and palettes: as OpenCV decodes them for MMCV, up to CMYK's rounding."""
    cv2 = pytest.importorskip('cv2')
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(256, size=(6, 8, 3), dtype=np.uint8)).resize((48, 36))
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = (np.linspace(0, 65535, 36 * 48).reshape(36, 48)).astype(np.uint16)
    alpha = pixels.copy()
    alpha.putalpha(Image.fromarray(rng.integers(256, size=(36, 48), dtype=np.uint8)))
    files = [save(tmp_path / 'turned.jpg', pixels, exif=exif), save(tmp_path / 'cmyk.jpg', pixels.convert('CMYK')),
             save(tmp_path / 'gray16.png', Image.fromarray(gray)), save(tmp_path / 'alpha.png', alpha),
             save(tmp_path / 'gray.png', pixels.convert('L')), save(tmp_path / 'palette.png', pixels.convert('P'))]
    for file in files:
        expected = cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1]
        actual = np.array(read_rgb(file))
        assert actual.shape == expected.shape, file
        assert np.abs(actual.astype(int) - expected).max() <= (3 if 'cmyk' in file.name else 1), file
        np.testing.assert_array_equal(np.array(read_rgb(file.read_bytes())), actual)
    with pytest.raises(UsageError, match='48 x 36 pixels'):
        read_rgb(files[-1], max_pixels=1000)


def test_sources(file, tmp_path):
    """Folders are searched; a file that cannot be read does not stop the others; batches change nothing."""
    (tmp_path / 'images/deeper').mkdir(parents=True)
    for number, side in enumerate((3, 3, 5)):
        Image.new('RGB', (side, 2), (100 * number, 7, 9)).save(tmp_path / f'images/deeper/{number}.png')
    (tmp_path / 'images/damaged.jpg').write_bytes(b'text')
    predictor = Predictor(file)
    one, many = (list(predictor.stream(tmp_path / 'images', batch_size=size)) for size in (1, 4))
    assert [frame.name.rpartition('/')[2] for frame, _ in one] == ['damaged.jpg', '0.png', '1.png', '2.png']
    assert one[0][1] is None and 'damaged.jpg cannot be read' in one[0][0].error
    for (_, alone), (_, together) in zip(one[1:], many[1:], strict=True):
        assert alone.to_dict() == together.to_dict()
    with pytest.raises(UsageError, match='damaged.jpg cannot be read'):
        predictor(tmp_path / 'images')
    with pytest.raises(UsageError, match='does not exist'):
        predictor('missing.jpg')
    with pytest.raises(UsageError, match='uint8 array'):
        predictor(IMAGE.astype('float32'))


def test_videos_are_read_frame_by_frame(file, tmp_path):
    cv2 = pytest.importorskip('cv2')
    writer = cv2.VideoWriter(str(tmp_path / 'film.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (64, 48))
    for gray in (0, 100, 200):
        writer.write(np.full((48, 64, 3), gray, np.uint8))
    writer.release()
    results = Predictor(file)(tmp_path / 'film.avi')
    assert [result.source.rpartition('/')[2] for result in results] == [f'film.avi#{number}' for number in range(3)]
    assert [round(result.image.mean(), -2) for result in results] == [0, 100, 200]


def test_results_are_coco(tmp_path):
    masks = np.zeros((1, 20, 30), bool)
    masks[0, 5:10, 8:20] = True
    about = 'a.jpg', np.zeros((20, 30, 3), np.uint8), ['cat', 'dog'], [(9, 9, 9), (250, 250, 0)]
    found = Detection(*about, np.array([1]), np.array([.9]), np.array([[8., 5., 20., 10.]]), masks)
    entry, = found.to_coco(7, category_ids=[17, 18])
    assert (entry['image_id'], entry['category_id'], entry['bbox']) == (7, 18, [8, 5, 12, 5])
    from pycocotools.mask import area
    assert area(entry['segmentation']) == 60
    nothing = Detection(*about, *(found.labels[:0], found.scores[:0], found.boxes[:0], masks[:0]))
    assert nothing.to_coco(7) == [] and nothing.to_dict()['items'] == [] and nothing.draw().size == (18 * 30, 18 * 20)
    segments = Segmentation(*about, masks[0].astype(int))
    image = segments.label_image()
    assert np.array(image).tolist() == masks[0].astype(int).tolist()
    assert image.convert('RGB').getpixel((8, 5)) == (250, 250, 0)
    assert [item['label'] for item in segments.items()] == [0, 1]
    assert len(Classification(*about, np.arange(9), np.linspace(.9, 0, 9)).items()) == 5
