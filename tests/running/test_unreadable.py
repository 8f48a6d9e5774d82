"""An image that cannot be read ends a run with one line that names it."""
import shutil

import pytest
from data_folders import damage
from helpers import ROOT, raises
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mmvit.running.unread_images import unread_image_named
from mmvit_backbones.errors import TrainingError

pytestmark = pytest.mark.usefixtures('frameworks')


def run(folder, workers: int) -> None:
    """Reads all images and masks as mmseg does."""
    from mmseg import datasets  # noqa: F401
    prefix = dict(img_path='images/val', seg_map_path='masks/val')
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    dataset = DATASETS.build(dict(type='BaseSegDataset', data_root=str(folder), data_prefix=prefix, pipeline=pipeline,
                                  _scope_='mmseg'))
    loader = DataLoader(dataset, num_workers=workers, collate_fn=list)
    with unread_image_named(lambda: [dataset]):
        for _ in loader:
            pass


@pytest.mark.parametrize('kind, place, workers', [
    ('text', 'images/val', 0), ('empty', 'images/val', 1), ('text', 'masks/val', 0), ('empty', 'masks/val', 0),
    ('tables', 'images/val', 0)])
def test_the_file_is_named(kind, place, workers, tmp_path):
    for part in 'images/val', 'masks/val':
        shutil.copytree(ROOT / 'data/camvid_mini' / part, tmp_path / part)
    run(tmp_path, 0)
    file = sorted((tmp_path / place).iterdir())[2]
    damage(file, kind)
    with raises(TrainingError, f'image {file} cannot be read', 'mmvit data check') as caught:
        run(tmp_path, workers)
    assert '\n' not in str(caught.value)


def test_other_errors_stay_as_they_are():
    with pytest.raises(ValueError, match=r'^other$'), unread_image_named(list):
        raise ValueError('other')
