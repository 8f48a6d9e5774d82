"""Exported files are recognized, and code in them is not executed."""
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.export.pt2_archive._package import package_pt2

from mmvit_backbones.errors import UsageError
from mmvit_backbones.inference import load
from mmvit_backbones.inference.load import DETAILS, PARTS

IMAGE = np.full((2, 4, 3), 7, dtype=np.uint8)


class MeanColor(nn.Module):
    """A classifier of three classes: the channels."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.float().mean((0, 1))


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
    image, scores = torch.from_numpy(IMAGE), torch.zeros(3)
    inputs = zip(PARTS, (MeanColor(), nn.Linear(3, 3), Last()), ((image, ), (scores, ), (image, scores)))
    details = dict(task='classification', classes=['red', 'green', 'blue'], outputs=['scores'])
    package_pt2(str(tmp_path / 'model.pt2'), extra_files={DETAILS: json.dumps(details)},
                exported_programs={name: torch.export.export(module, example) for name, module, example in inputs})
    return tmp_path / 'model.pt2'


def rewrite(file, change):
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, 'w') as archive:
        for name, data in change(content).items():
            archive.writestr(name, data)


def test_file_predicts(file):
    found = load(file).predict(IMAGE)
    assert sorted(found['labels']) == [0, 1, 2] and found['scores'].shape == (3, )


def test_pickled_objects_are_refused(file, tmp_path):
    stream = io.BytesIO()
    torch.save(Run(tmp_path / 'was_run'), stream)
    inputs = [name for name in zipfile.ZipFile(file).namelist() if 'sample_inputs' in name]
    assert inputs
    rewrite(file, lambda content: {**content, **dict.fromkeys(inputs, stream.getvalue())})
    with pytest.raises(UsageError, match='objects that could run code'):
        load(file)
    assert not (tmp_path / 'was_run').exists()


def test_compiled_code_is_refused(file):
    rewrite(file, lambda content: {**content, 'model/data/aotinductor/model/model.so': b''})
    with pytest.raises(UsageError, match='contains compiled code.* load it with trust_code=True'):
        load(file)
