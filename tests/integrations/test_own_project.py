"""The scripts of mmdet, mmseg and mmpretrain train the configs of docs/own_project.md in a user's folder."""
import os
import re
from functools import partial
from pathlib import Path

import pytest
from helpers import ROOT
from runs import Run

# Framework -> config, options for a short training.
RUNS = {
    'mmdet': ('my_detector.py', [
        'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=2', 'val_dataloader.dataset.indices=2',
        'train_dataloader.dataset.pipeline.2.scale=(160,100)', 'val_dataloader.dataset.pipeline.1.scale=(160,100)',
        'model.roi_head.bbox_head.fc_out_channels=32', 'model.roi_head.mask_head.conv_out_channels=32',
        'model.train_cfg.rcnn.sampler.num=32', 'model.test_cfg.rpn.max_per_img=50',
        'model.test_cfg.rcnn.max_per_img=5']),
    'mmseg': ('my_segmenter.py', [
        'train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.dataset.pipeline.2.scale=(128,96)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)', 'model.data_preprocessor.size=(64,64)',
        'val_dataloader.dataset.pipeline.1.scale=(64,48)', 'model.decode_head.norm_cfg.type=BN',
        'model.auxiliary_head.norm_cfg.type=BN', 'default_hooks.checkpoint.interval=2']),
    'mmpretrain': ('my_classifier.py', [
        'train_cfg.max_epochs=1', 'train_dataloader.batch_size=4', 'train_dataloader.dataset.indices=8',
        'val_dataloader.dataset.indices=8', 'train_dataloader.dataset.pipeline.1.scale=64',
        'param_scheduler.0.end=1', 'param_scheduler.1.begin=0', 'param_scheduler.1.T_max=1']),
}


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.parametrize('framework', RUNS)
def test_the_frameworks_script_trains_the_page_s_config(framework, tmp_path):
    config, options = RUNS[framework]
    script = Path(pytest.importorskip(framework).__file__).parent / '.mim' / 'tools' / 'train.py'
    page = (ROOT / 'docs' / 'own_project.md').read_text()
    for name, text in re.findall(r'^```python\n# (\w+\.py)\n(.*?)^```$', page, flags=re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text)
    (tmp_path / 'data').symlink_to(ROOT / 'data')
    workers = [f'{loader}_dataloader.{option}' for loader in ('train', 'val')
               for option in ('num_workers=0', 'persistent_workers=False')]
    run = Run(tmp_path / 'log.txt', script, config, '--cfg-options', *options, *workers,
              before=partial(os.chdir, tmp_path))
    assert run.wait() == 0, run.text[-2000:]
    assert [*tmp_path.glob('work_dirs/*/*.pth')]
