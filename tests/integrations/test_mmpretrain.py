"""mmpretrain's hub and inferencer find the networks by name."""
import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT
from mmengine.registry import init_default_scope

from mmvit_backbones.zoo.download import cached_file
from mmvit_backbones.zoo.weights import WEIGHTS

mmpretrain = pytest.importorskip('mmpretrain')
import mmvit_backbones.integrations.mmpretrain  # noqa: E402, F401


def test_the_hub_lists_and_builds():
    assert mmpretrain.list_models('reswin*') == ['reswin_tiny']
    assert len(mmpretrain.list_models('restv2_*')) == 4 and 'resnet50_8xb32_in1k' in mmpretrain.list_models('resnet50')
    model = mmpretrain.get_model('vitae_tiny', head=dict(num_classes=3)).eval()
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 3)


def test_inferencer_loads_published_weights(tmp_path, monkeypatch):
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    weights = fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32)
    torch.save(weights, cached_file(WEIGHTS['vitae_tiny']))
    init_default_scope('mmpretrain')  # another test may have set a different scope
    inferencer = mmpretrain.ImageClassificationInferencer('vitae_tiny', device='cpu')
    image = next((ROOT / 'data/flowers_mini/val').glob('*/*.jpg'))
    result, = inferencer(str(image), show=False)
    assert 0 < result['pred_score'] <= 1 and isinstance(result['pred_class'], str)
    own = inferencer.model.state_dict()
    assert torch.equal(own['head.fc.weight'], weights['head.weight'])
