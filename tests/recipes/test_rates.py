"""What the weights bring trains at the rate of pretrained layers, and nothing else does."""
import pytest
import torch
from fine_tunings import TASKS, recipe
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from mmvit.frameworks.building import build_model, use_framework
from mmvit_backbones import get_model
from mmvit_backbones.utils.openmmlab_models import init_weights
from mmvit_backbones.zoo.loading import safe_loading
from mmvit_backbones.zoo.variants import VARIANTS

pytestmark = [pytest.mark.usefixtures('frameworks'), pytest.mark.slow]
VALUE = 0.123
FIRST = {variant.family.name: variant.name for variant in reversed(VARIANTS.values())}.values()
OTHERS = ['resnet50', 'timm:mobilenetv3_small_100', 'timm:vgg11', 'timm:hrnet_w18_small']
TIMM = ['vit_tiny_patch16_224', 'convnext_atto', 'tf_efficientnet_lite0', 'regnetx_002', 'densenet121', 'repvgg_a0',
        'edgenext_xx_small', 'mobilenetv2_035', 'resnetv2_50', 'swin_tiny_patch4_window7_224']
NETWORKS = [
    *FIRST, *OTHERS,
    *(pytest.param(name, marks=pytest.mark.large)  # four minutes
      for name in [*VARIANTS, *(f'timm:{name}' for name in TIMM)] if name not in FIRST)]


def constant(network: str) -> dict[str, torch.Tensor]:
    """Returns the weights of a network's own classifier, all of one value."""
    with torch.device('meta'):
        if network in VARIANTS:
            own = get_model(network).state_dict()
        elif network.startswith('timm:'):
            own = pytest.importorskip('timm').create_model(network.removeprefix('timm:')).state_dict()
        else:
            resnet = MODELS.build(dict(type='mmdet.ResNet', depth=50))
            own = {f'backbone.{name}': x for name, x in resnet.state_dict().items()}
    values = {True: torch.tensor(VALUE), False: torch.tensor(0)}
    return {name: values[x.is_floating_point()].expand(x.shape) for name, x in own.items()}


@TASKS
@pytest.mark.parametrize('network', NETWORKS)
def test_weights_and_new_layers_have_their_rates(network, task, tmp_path, own_loaders):
    torch.save(constant(network), tmp_path / 'weights.pth')
    cfg = recipe(tmp_path, task, network, pretrained=str(tmp_path / 'weights.pth'), layer_decay=1.)
    use_framework(cfg.default_scope)
    with safe_loading():
        model = build_model(Config(cfg.to_dict()))
        init_weights(model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = [(parameter, group['lr']) for group in groups for parameter in group['params']]
    lower = {id(parameter) for parameter, rate in rates if rate < cfg.optim_wrapper.optimizer.lr}
    brought = {id(parameter) for parameter in model.parameters() if is_value(parameter)}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert len(rates) == len(names) and not {names[each] for each in lower ^ brought}


def is_value(parameter: nn.Parameter) -> bool:
    return bool(torch.isclose(parameter, torch.tensor(VALUE)).all())  # resizing a table rounds
