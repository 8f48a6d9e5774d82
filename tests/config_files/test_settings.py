"""Settings of OpenMMLab's own configs are those that their trainings take."""
import importlib

import pytest
from mmengine.config import Config

from mmvit.configs.settings import check_settings


@pytest.mark.parametrize('path', [
    'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'mmpretrain::shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py',
    'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'])
def test_configs_of_the_frameworks_are_accepted(path, tmp_path):
    """They have schedulers by epoch that are updated by iteration, some without an end, and scopes of other files."""
    importlib.import_module(path.partition('::')[0])
    (tmp_path / 'own.py').write_text(f"_base_ = '{path}'")
    check_settings(Config.fromfile(tmp_path / 'own.py'))
