"""A pixel of a segmenter's logits is a pixel of the image, whatever its size: nothing is stretched by padding."""
from itertools import product

import numpy as np
import pytest
import torch
from fine_tunings import fine_tune
from helpers import save_run
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from PIL import Image

from mmvit import Predictor, running
from mmvit import test as run_test
from mmvit.deployment import export_model
from mmvit.frameworks.building import build_model, use_framework

pytestmark = [pytest.mark.usefixtures('frameworks'), pytest.mark.filterwarnings('ignore')]
STEP, STRIDES = 4, (4, 8, 16, 32)  # pixels per class, and per cell


@MODELS.register_module(force=True)
class Coordinates(BaseModule):
    """Returns maps of the pixel coordinates x and y in the centers of their cells, of ceil size as all backbones."""

    num_stages = 4

    def forward(self, images):
        maps = []
        for stride in STRIDES:
            x, y = ((torch.arange((side - 1) // stride + 1) + .5) * stride for side in images.shape[:1:-1])
            cells = torch.stack(torch.meshgrid(x, y, indexing='xy'))
            maps.append((cells + 0 * images.mean()).expand(len(images), -1, -1, -1).to(images))
        return tuple(maps)


def make_run(folder, height, width, level):
    """Returns the checkpoint of a recipe that reads x from a map: class k is at STEP * (k + 0.5)."""
    classes = -(-width // STEP)
    expected = np.broadcast_to((np.arange(width) // STEP).astype(np.uint8), (height, width))
    for kind, part in product(('images', 'masks'), ('train', 'val')):
        (folder / kind / part).mkdir(parents=True)
        image = Image.fromarray(expected) if kind == 'masks' else Image.new('RGB', (width, height), (90, 120, 30))
        image.save(folder / kind / part / 'a.png')
    (folder / 'classes.txt').write_text('\n'.join(f'c{i}' for i in range(classes)), encoding='utf-8')
    cfg = fine_tune(dict(type='Coordinates'), seg_folder=str(folder), size=min(height, width), pretrained=False,
                    work_dir=str(folder / 'recipe'), check_files=False)
    use_framework('mmseg')
    model = build_model(cfg).eval()
    center = STEP * (torch.arange(classes) + .5)
    for i, (norm, _, linear) in enumerate(model.decode_head.layers):
        norm.eps = 0.
        linear.weight.data.zero_()
        if i == level:  # the class whose center is next
            linear.weight.data[:, 0, 0, 0] = 2 * center
        if i == 0:
            linear.bias.data.copy_(-center ** 2)
    (folder / 'run').mkdir(exist_ok=True)
    return save_run(cfg, model, folder / 'run/model.pth')


def largest_shift(model, height, width):
    """Returns how many pixels the predicted x of a pixel is off."""
    result, = Predictor(model)(np.full((height, width, 3), 90, np.uint8))
    return np.abs(STEP * (result.segmentation + .5) - np.arange(width) - .5).max()


@pytest.mark.parametrize('height, width', [(128, 171), (97, 70), (512, 683)])
def test_pixels_keep_their_place(height, width, tmp_path):
    """To half a cell in predictions; a test finds the classes of all pixels, also with augmentation (without flips)."""
    for level, stride in enumerate(STRIDES):
        checkpoint = make_run(tmp_path / str(level), height, width, level)
        assert largest_shift(checkpoint, height, width) <= (stride + STEP) / 2 - .5
        for tta in [False, True] if not level else []:
            cfg = running.testing_config(str(checkpoint), str(checkpoint), tta=tta)
            cfg.tta_pipeline[-1].transforms[1] = [dict(type='RandomFlip', prob=0.)]
            if tta:
                cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
            assert run_test(cfg)['mIoU'] > 99


@pytest.mark.compiler
def test_pixels_keep_their_place_in_an_exported_file(tmp_path):
    """For images of all sizes by one file."""
    checkpoint = make_run(tmp_path / 'run', 128, 171, len(STRIDES) - 1)
    export_model(str(checkpoint), str(tmp_path / 'model.onnx'))
    for height, width in (128, 171), (200, 128), (128, 140):
        assert largest_shift(tmp_path / 'model.onnx', height, width) <= (STRIDES[-1] + STEP) / 2 - .5
