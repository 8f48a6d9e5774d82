"""A training starts from weights that its backbone has as a whole; what is new is said."""
import copy
from pathlib import Path

import mmdet
import pytest
import torch
from fine_tunings import recipe
from helpers import raises
from mmengine.config import Config
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.registry import MODELS
from tiny_runs import log_of

from mmvit.frameworks.building import build_model, use_framework
from mmvit.running import train
from mmvit.running.checkpoints import check_start
from mmvit.running.rehearsal import rehearse
from mmvit_backbones.errors import CheckpointError

pytestmark = pytest.mark.usefixtures('frameworks')


def save_model(cfg: Config, file) -> dict[str, torch.Tensor]:
    use_framework(cfg.default_scope)
    weights = build_model(Config(cfg.to_dict())).state_dict()
    torch.save(dict(state_dict=weights), file)
    return weights


@pytest.mark.workflow
def test_a_backbone_that_would_stay_random_in_part_is_refused(tmp_path, own_loaders):
    """Before the training and by --check: another network of the family, a file without a stage."""
    lite, weights = tmp_path / 'lite.pth', tmp_path / 'part.pth'
    save_model(recipe(tmp_path, network='rest_lite'), lite)
    small = recipe(tmp_path, network='rest_small', size=64, epochs=1, batch_size=4)
    whole = save_model(small, weights)
    torch.save(dict(state_dict={name: x for name, x in whole.items() if 'stages.3' not in name}), weights)
    for file, words in ((lite, ['backbone.stages.2.2']), (weights, ['backbone.stages.3', '(backbone'])):
        cfg = Config({**small.to_dict(), 'load_from': str(file)})
        for start in rehearse, train:
            with raises(CheckpointError, str(file), 'another network', 'random', 'no option', *words) as caught:
                start(cfg)
            assert '\n' not in str(caught.value)
        assert not list(tmp_path.glob('run/*.pth'))


@pytest.mark.workflow
def test_a_new_head_is_said_in_terminal_and_log(tmp_path, capsys, own_loaders):
    cfg = recipe(tmp_path, network='rest_lite', size=64, epochs=1, batch_size=8)
    weights = save_model(cfg, tmp_path / 'old.pth')
    torch.save(dict(state_dict={**weights, 'head.fc.weight': torch.zeros(7, 512), 'head.fc.bias': torch.zeros(7)}),
               tmp_path / 'old.pth')
    cfg = Config({**cfg.to_dict(), 'load_from': str(tmp_path / 'old.pth')})
    rehearse(cfg)
    train(cfg)
    for text in capsys.readouterr().out, log_of(tmp_path / 'run'):
        line, = [line for line in text.splitlines() if 'weights from' in line]
        assert 'old.pth' in line and line.endswith('new: head')


class Whole(BaseModel):
    """A model with a backbone and a head."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, torch.nn.Linear(2, 2)

    def forward(self, *args: object) -> None:
        """Is not called."""


def resnet(**options) -> Whole:
    return Whole(MODELS.build(dict(type='mmdet.ResNet', depth=50, **options)))


def refusal(model: BaseModel, weights: dict) -> str | None:
    """Returns why MMEngine would leave a part of the backbone random, after it has loaded the weights or not."""
    before = copy.deepcopy(model)
    try:
        check_start(model, dict(state_dict=weights), 'w.pth', False)
    except CheckpointError as error:
        return str(error)
    assert all(map(torch.equal, model.parameters(), before.parameters()))  # a check changes nothing
    return None


DCN = dict(dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
           stage_with_dcn=(False, False, False, True))


def test_initial_values_that_are_not_random_may_stay():
    """Deformable convolutions start as plain ones: their offsets are zero."""
    model = resnet(**DCN)
    own = model.state_dict()
    assert refusal(model, resnet().state_dict()) is None
    assert 'backbone.layer4.1' in str(refusal(model, {k: x for k, x in own.items() if 'layer4.1.conv2' not in k}))


def test_models_that_distribute_weights_are_asked():
    """A semi-supervised detector gives the weights of a detector to its teacher and its student."""
    file = next((Path(str(mmdet.__file__)).parent / '.mim/configs/soft_teacher').glob('*0.1-coco.py'))
    cfg = Config.fromfile(file)
    use_framework('mmdet')
    model = MODELS.build(cfg.model)
    weights = dict(model.student.state_dict())
    assert refusal(model, weights) is None
    assert 'student.backbone.layer4' in str(refusal(model, {k: x for k, x in weights.items() if 'layer4' not in k}))


@pytest.mark.filterwarnings('ignore:torch.ao.quantization is deprecated')
def test_quantized_weights_are_told():
    """Their modules hold them outside of tensors."""
    model = torch.ao.quantization.quantize_dynamic(Whole(torch.nn.Sequential(torch.nn.Linear(3, 3))), {torch.nn.Linear})
    assert refusal(model, dict(model.state_dict())) is None
    plain = Whole(torch.nn.Sequential(torch.nn.Linear(3, 3)))
    assert 'another network' in str(refusal(plain, dict(model.state_dict())))


def test_averages_are_weights():
    model = resnet()
    averages = ExponentialMovingAverage(model)
    assert refusal(model, dict(averages.state_dict())) is None
