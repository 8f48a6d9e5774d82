"""State dicts are found in checkpoints of any training loop, or chosen by their prefix."""
import pytest
import torch
from helpers import fresh_model, raises, trained_model
from tiny_configs import TINY_CONFIGS

from mmvit_backbones import get_model
from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo.fitting import fit
from mmvit_backbones.zoo.loading import load_checkpoint, read_state

OPTIMIZER = dict(state={0: dict(step=torch.tensor(1.), exp_avg=torch.zeros(3))}, param_groups=[dict(lr=0.1)])
OWN = trained_model('ReSwin').state_dict()
OTHER = {key: -x for key, x in OWN.items()}
ONE = torch.tensor(1)


def named(prefix: str, weights: dict) -> dict:
    return {prefix + key: x for key, x in weights.items()}


def assert_own(weights: dict) -> None:
    assert all(torch.equal(weights[key], x) for key, x in OWN.items())


@pytest.mark.parametrize('checkpoint', [
    dict(model=OWN, epoch=3, optimizer=OPTIMIZER, loss=ONE), dict(state_dict=named('backbone.', OWN)),
    dict(model=OWN, state_dict=OWN), dict(model=OWN, best=named('module.', OWN)), named('module._orig_mod.', OWN),
    named('backbone._orig_mod.', OWN), {**OWN, 'decoder.norm3.weight': -OWN['norm3.weight']},
    dict(state_dict=OWN, meta={}, ema_state_dict=named('module.', OTHER) | dict(steps=ONE)),
    dict(state_dict=OWN, critic={f'{i}.weight': torch.zeros(3) for i in range(400)})])
def test_wrappers_that_always_mean_the_same_come_off(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / 'last.pth')
    model = fresh_model('ReSwin', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'last.pth')))
    model.init_weights()
    assert_own(model.state_dict())


@pytest.mark.parametrize('checkpoint, prefixes', [
    (dict(net=OWN), ['net.']), (named('encoder.', OWN) | {'classifier.weight': ONE}, ['encoder.']),
    (dict(state_dict=named('model.backbone.', OWN)), ['state_dict.model.backbone.', 'model.', 'model.backbone']),
    (dict(model=OTHER, model_ema=OWN), ['model_ema.', 'model_ema']),
    (dict(state_dict=OTHER, state_dict_ema=named('module.', OWN)), ['state_dict_ema.']),
    (dict(net=OTHER, ema=dict(module=OWN, decay=0.9)), ['ema.module.']),
    (dict(model=named('backbone.', OTHER), swa=named('module.backbone.', OWN) | dict(n=ONE)), ['swa.backbone.']),
    (named('backbone.', OTHER) | named('ema.backbone.', OWN), ['ema.backbone.', 'ema.']),
    (dict(student=dict(model=OTHER), teacher=dict(model=OWN)), ['teacher.model.']),
    (named('module.encoder_q.', OWN) | named('module.encoder_k.', OTHER), ['encoder_q.', 'module.encoder_q.']),
    (dict(state_dict=OWN, meta={}, ema_state_dict=dict(named('module.', OTHER), steps=ONE)), ['', 'state_dict.'])])
def test_others_are_chosen_by_prefix(checkpoint, prefixes):
    model = fresh_model('ReSwin')
    if prefixes[0]:
        with raises(CheckpointError, 'a.pth', repr(prefixes[0]), '--prefix') as caught:
            load_checkpoint(model, checkpoint, 'a.pth')
        assert '\n' not in str(caught.value)
    with raises(CheckpointError, 'a.pth', "'none.'"):
        load_checkpoint(model, checkpoint, 'a.pth', prefix='none.')
    for prefix in prefixes:
        load_checkpoint(model, checkpoint, 'a.pth', prefix=prefix)
        assert_own(model.state_dict())


def test_a_prefix_of_several_sets_is_refused(tmp_path):
    """As configs have prefix='backbone.', it does not choose between averaged weights and others."""
    torch.save(dict(model=named('backbone.', OTHER), ema=named('backbone.', OWN)), tmp_path / 'a.pth')
    arguments = dict(checkpoint=str(tmp_path / 'a.pth'), **TINY_CONFIGS['ReSwin'])
    for prefix in None, 'backbone.':
        with raises(CheckpointError, "'model.backbone.', 'ema.backbone.'"):
            get_model('reswin_tiny', 'backbone', prefix=prefix, **arguments)
    assert_own(get_model('reswin_tiny', 'backbone', prefix='ema', **arguments).state_dict())
    with raises(ValueError, 'prefix', 'checkpoint'):
        get_model('reswin_tiny', prefix='ema.')


@pytest.mark.parametrize('number', [1, 50])
def test_unknown_keys_are_named_if_they_are_few(number, logged, tmp_path):
    """The rule holds for a backbone, a whole model, and the weights with which MMEngine starts a training."""
    more = {f'backbone.more{i}': torch.zeros(3) for i in range(number)}
    torch.save(dict(state_dict=named('backbone.', OWN) | more, meta={}), tmp_path / 'a.pth')
    model = torch.nn.ModuleDict(dict(backbone=fresh_model('ReSwin')))
    state = read_state(str(tmp_path / 'a.pth'))
    for load in (lambda: load_checkpoint(model.backbone, state, 'a.pth'),
                 lambda: load_checkpoint(model, state, 'a.pth'),
                 lambda: fit(model, state['state_dict'], 'the backbone', 'a.pth')):
        if number == 1:
            load()
        else:
            with raises(CheckpointError, 'a.pth', '50 keys are unknown', 'more0') as caught:
                load()
            assert 'missing' not in str(caught.value)
    assert ('more0' in logged.text) == (number == 1)


def test_mmengine_gets_the_weights_of_own_loops(tmp_path):
    for content in (dict(model=OWN, optimizer=OPTIMIZER), named('module.', OWN), dict(state_dict=OWN, loss=ONE)):
        torch.save(content, tmp_path / 'a.pth')
        assert_own(read_state(str(tmp_path / 'a.pth'))['state_dict'])
    torch.save(dict(state_dict=OWN, best_state_dict=OTHER), tmp_path / 'a.pth')
    with raises(CheckpointError, 'a.pth', "'state_dict.', 'best_state_dict.'"):
        read_state(str(tmp_path / 'a.pth'))
    training = dict(state_dict=OWN, meta=dict(epoch=1), optimizer=OPTIMIZER, message_hub={}, ema_state_dict=dict(
        named('module.', OTHER), steps=ONE))
    torch.save(training, tmp_path / 'b.pth')
    state = read_state(str(tmp_path / 'b.pth'))  # with everything that is needed to resume
    assert state.keys() == training.keys()
    assert_own(state['state_dict'])
