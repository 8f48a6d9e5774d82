"""Names in timm, and the program of docs/adapters.md; `make test-extras` runs these tests with Transformers 5."""
import re
from typing import Any

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import ROOT, each_network
from mmengine.registry import MODELS
from PIL import Image
from tiny_configs import NAMES, TINY_CONFIGS
from torch.testing import assert_close

from mmvit_backbones.backbones import Backbone

ARCH = TINY_CONFIGS['ReSwin']['arch']


def tiny_reswin(**arguments) -> torch.nn.Module:
    return MODELS.build(dict(type='ReSwin', arch=ARCH, **arguments))


# ---- timm


@pytest.fixture
def timm():
    timm = pytest.importorskip('timm')
    import mmvit_backbones.integrations.timm  # noqa: F401
    return timm


@pytest.mark.parametrize('network', ['ReSwin', 'RefinerViT', 'RegionViT', 'ViTAE-plain'])  # each kind of head
@torch.no_grad()
def test_an_fx_graph_returns_the_maps(timm, network):
    """The backbone is a single node of the graph."""
    from torchvision.models.feature_extraction import create_feature_extractor
    arguments = {key: value for key, value in TINY_CONFIGS[network].items() if key not in ('stage_norm', 'type')}
    model = timm.create_model(f'mm_{NAMES[network]}', **arguments).eval()
    graph = create_feature_extractor(model, ['backbone', 'head'], tracer_kwargs=dict(leaf_modules=[Backbone]))
    for size in ((64, 96), (70, 49)):
        x = torch.randn(1, 3, *size)
        outputs = graph(x)
        assert torch.equal(outputs['head'], model(x))
        assert_close(outputs['backbone'], model.backbone(x), rtol=0, atol=0)


# ---- the program of docs/adapters.md


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> dict[str, Any]:
    """Returns what the program defines, with generated weights as the published ones."""
    pytest.importorskip('transformers')
    folder = tmp_path_factory.mktemp('page')
    weights = fill_state_dict(NETWORKS['golden_reswin_tiny']['state_dict'], torch.float32)
    torch.save(dict(model=weights), folder / 'reswin_tiny.pth')
    text = (ROOT / 'docs/adapters.md').read_text(encoding='utf-8')
    program = '\n'.join(re.findall(r'^```python\n(.*?)^```$', text, flags=re.MULTILINE | re.DOTALL))
    names: dict[str, Any] = {'__name__': 'page'}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv('MMVIT_HOME', str(folder))
        exec(compile(program, 'docs/adapters.md', 'exec'), names)
    return names


@torch.no_grad()
def test_models_of_transformers_keep_the_published_weights(page, tmp_path):
    x, network = torch.rand(1, 3, 64, 64), page['classifier'].timm_model.eval()
    assert_close(page['reloaded'](x).logits, network(x))
    assert page['reloaded'].config.id2label[1] == 'tulip'
    assert page['processor'](Image.new('RGB', (80, 60)))['pixel_values'].shape == (1, 3, 224, 224)
    for model in page['segmenter'].eval(), page['detector'].eval():
        own = {name.rpartition('backbone.')[2]: x for name, x in model.state_dict().items()}
        published = {name.removeprefix('backbone.'): x for name, x in network.state_dict().items()
                     if name.startswith('backbone.') and '.norm3.' not in name}  # timm's getter has no norm
        assert all(torch.equal(own[name], x) for name, x in published.items())
        model.save_pretrained(tmp_path / model.base_model_prefix)
        again = type(model).from_pretrained(tmp_path / model.base_model_prefix).eval()
        assert_close(again(x).logits, model(x).logits)


@each_network
@torch.no_grad()
def test_transformers_reloads_each_network(network, timm, tmp_path):
    """It builds models without memory and fills in what the file has, so nothing else may hold values."""
    transformers = pytest.importorskip('transformers')
    arguments = {key: value for key, value in TINY_CONFIGS[network].items() if key not in ('type', 'stage_norm')}
    config = transformers.TimmWrapperConfig(
        architecture=f'mm_{NAMES[network]}', num_labels=3, model_args=arguments)
    model, x = transformers.TimmWrapperForImageClassification(config).eval(), torch.rand(1, 3, 64, 96)
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert_close(again(x).logits, model(x).logits)


def test_torchvisions_mask_rcnn_trains(page):
    backbone = page['WithPyramid'](tiny_reswin(), out_channels=16)
    detector = page['MaskRCNN'](backbone, num_classes=3, min_size=64, max_size=96, rpn_post_nms_top_n_train=50)
    box = torch.tensor([[8., 8., 40., 40.]])
    mask = torch.zeros(1, 64, 90, dtype=torch.uint8)
    mask[:, 8:40, 8:40] = 1
    losses = detector([torch.rand(3, 64, 90)], [dict(boxes=box, labels=torch.tensor([1]), masks=mask)])
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
