"""A network learns from a teacher without labels by LightlyTrain; `make test-extras` runs this test."""
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from mmvit_backbones import get_model

pytest.importorskip('lightly_train')


@pytest.mark.workflow
def test_the_program_of_the_page_gives_weights_of_the_backbone(tmp_path):
    """Tests download nothing, so the teacher is small and random."""
    page = (ROOT / 'docs/weights.md').read_text(encoding='utf-8')
    program, = re.findall(r'^```py\n(import lightly_train\n.*?)^```$', page, flags=re.MULTILINE | re.DOTALL)
    small = "batch_size=4, num_workers=0, accelerator='cpu', transform_args=dict(image_size=(64, 64))"
    for old, new in {'dinov2/vits14': 'dinov3/vitt16-notpretrained', 'epochs=100': 'epochs=1',
                     'batch_size=16': small}.items():
        assert old in program
        program = program.replace(old, new)
    images = tmp_path / 'data/flowers_mini/train'
    images.mkdir(parents=True)
    for file in sorted((ROOT / 'data/flowers_mini/train').rglob('*.jpg'))[:8]:
        shutil.copy(file, images)
    (tmp_path / 'program.py').write_text(program, encoding='utf-8')
    subprocess.run([sys.executable, 'program.py'], check=True, cwd=tmp_path, env={
        **os.environ, 'PYTHONPATH': str(ROOT), 'LIGHTLY_TRAIN_EVENTS_DISABLED': '1'})
    file = tmp_path / 'lightly/exported_models/exported_last.pt'
    found = torch.load(file, weights_only=True)
    trained = get_model('rest_lite', 'backbone', checkpoint=str(file), out_indices=3).state_dict()
    assert trained and all(torch.equal(x, found[f'backbone.{name}']) for name, x in trained.items())
