"""State dicts are found in checkpoints of any training loop."""
import pytest
import torch
from helpers import fresh_model, raises, trained_model

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo.loading import check_overlap, load_checkpoint, read_state

OPTIMIZER = dict(state={0: dict(step=torch.tensor(1.), exp_avg=torch.zeros(3))}, param_groups=[dict(lr=0.1)])


def named(prefix: str, weights: dict) -> dict:
    return {prefix + key: x for key, x in weights.items()}


def negative(weights: dict) -> dict:
    return {key: -x for key, x in weights.items()}


def saved(form: str) -> dict:
    """Returns a checkpoint that contains the weights of ``trained_model('ReSwin')`` in some form."""
    own = trained_model('ReSwin').state_dict()
    other = negative(own)
    forms = dict(
        model=lambda: dict(model=own, epoch=3, optimizer=OPTIMIZER, loss=torch.tensor(0.1)),
        model_state_dict=lambda: dict(model_state_dict=own, rng_state=dict(cpu=torch.get_rng_state())),
        net=lambda: dict(net=own), network=lambda: dict(network=own, ema_decay=0.9),
        nested=lambda: dict(checkpoint=dict(model=own)),
        twice=lambda: dict(model=own, state_dict=own),
        model_ema=lambda: dict(model=other, model_ema=own),
        state_dict_ema=lambda: dict(state_dict_ema=own, state_dict=other),
        shadow=lambda: dict(net=other, ema=dict(module=own, decay=0.9)),
        swa=lambda: dict(state_dict=other, swa_model=named('module.', own) | dict(n_averaged=torch.tensor(1))),
        mmengine=lambda: dict(state_dict=own, meta={}, ema_state_dict=named('module.', other) | dict(
            steps=torch.tensor(1))),
        lightning=lambda: dict(state_dict=named('model.backbone.', own) | {'model.fc.weight': torch.zeros(3)}),
        averaged_lightning=lambda: dict(state_dict=named('model.', other) | named('ema_model.module.', own)),
        compiled=lambda: named('module._orig_mod.', own), compiled_inside=lambda: named('backbone._orig_mod.', own),
        encoder=lambda: named('encoder.', own) | {'classifier.weight': torch.zeros(3)},
        other_network=lambda: dict(generator=own, critic={f'{i}.weight': torch.zeros(3) for i in range(400)}),
    )
    return forms[form]()


@pytest.mark.parametrize('form', [
    'model', 'model_state_dict', 'net', 'network', 'nested', 'twice', 'model_ema', 'state_dict_ema', 'shadow', 'swa',
    'mmengine', 'lightning', 'averaged_lightning', 'compiled', 'compiled_inside', 'encoder', 'other_network'])
def test_weights_of_own_loops_are_found(form, tmp_path):
    torch.save(saved(form), tmp_path / 'last.pth')
    model = fresh_model('ReSwin', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'last.pth')))
    model.init_weights()
    expected = trained_model('ReSwin').state_dict()
    assert all(torch.equal(x, expected[key]) for key, x in model.state_dict().items())


@pytest.mark.parametrize('wrap, prefix, keys', [
    (lambda own, other: dict(student=other, teacher=own), 'teacher.', 'student, teacher'),
    (lambda own, other: dict(student=dict(model=named('backbone.', other)),
                             teacher=dict(model=named('backbone.', own))),
     'teacher.backbone.', 'student.model, teacher.model'),
    (lambda own, other: named('student.', other) | named('teacher.', own), 'teacher', 'student, teacher'),
    (lambda own, other: named('module.encoder_q.', own) | named('module.encoder_k.', other), 'module.encoder_q.',
     'encoder_q, encoder_k'),
    (lambda own, other: dict(state_dict=other, best_state_dict=own), 'best_state_dict.',
     'state_dict, best_state_dict')])
def test_unrelated_weights_are_chosen_by_prefix(wrap, prefix, keys):
    own = trained_model('ReSwin').state_dict()
    checkpoint, model = wrap(own, negative(own)), fresh_model('ReSwin')
    with raises(CheckpointError, 'a.pth', keys, 'prefix='):
        load_checkpoint(model, checkpoint, 'a.pth')
    load_checkpoint(model, checkpoint, 'a.pth', prefix=prefix)
    assert torch.equal(model.state_dict()['patch_embed.proj.weight'], own['patch_embed.proj.weight'])


def test_a_part_with_some_of_the_names_is_no_rival():
    """Neither a list of prefixes nor the names alone decide: both parts have names of the network, and neither all."""
    own, model = trained_model('ReSwin').state_dict(), fresh_model('ReSwin')
    encoder = {key: x for key, x in own.items() if not key.startswith('norm0.')}  # a classifier has only the last norm
    decoder = {key: -x for key, x in own.items() if key.startswith(('stages.3.', 'norm3.'))}
    load_checkpoint(model, named('encoder.', encoder) | named('decoder.', decoder), 'a.pth')
    found = model.state_dict()
    assert all(torch.equal(found[key], x) for key, x in encoder.items())


def test_averaged_weights_of_mmengine_are_found_under_a_prefix():
    """MMEngine saves them as ``state_dict``, and the others as ``ema_state_dict``."""
    own, model = trained_model('ReSwin').state_dict(), fresh_model('ReSwin')
    training = dict(state_dict=named('backbone.', own), meta={}, ema_state_dict=dict(
        named('module.backbone.', negative(own)), steps=torch.tensor(1)))
    for prefix, sign in (('backbone.', 1), ('ema_state_dict.backbone.', -1)):
        load_checkpoint(model, training, 'a.pth', prefix=prefix)
        assert torch.equal(model.state_dict()['norm3.weight'], sign * own['norm3.weight'])


@pytest.mark.parametrize('number', [1, 50])
def test_unknown_keys_are_named_if_they_are_few(number, logged, tmp_path):
    """The rule holds for a backbone, a whole model, and the weights with which MMEngine starts a training."""
    own = named('backbone.', trained_model('ReSwin').state_dict())
    more = {f'backbone.more{i}': torch.zeros(3) for i in range(number)}
    torch.save(dict(state_dict=own | more, meta={}), tmp_path / 'a.pth')
    model = torch.nn.ModuleDict(dict(backbone=fresh_model('ReSwin')))
    state = read_state(str(tmp_path / 'a.pth'))
    for load in (lambda: load_checkpoint(model.backbone, state, 'a.pth'),
                 lambda: load_checkpoint(model, state, 'a.pth'),
                 lambda: check_overlap(model, state['state_dict'], 'a.pth')):
        if number == 1:
            load()
        else:
            with raises(CheckpointError, 'a.pth', '50 keys are unknown', 'more0') as caught:
                load()
            assert 'missing' not in str(caught.value)
    assert ('more0' in logged.text) == (number == 1)


def test_mmengine_gets_the_weights_of_own_loops(tmp_path):
    own = trained_model('ReSwin').state_dict()
    torch.save(dict(model=negative(own), model_ema=named('module.', own), optimizer=OPTIMIZER), tmp_path / 'a.pth')
    state = read_state(str(tmp_path / 'a.pth'))
    assert state.keys() == {'state_dict'} and state['state_dict'].keys() == own.keys()
    inside, one = named('backbone.', own), torch.tensor(1.)
    for content, names in ((dict(net=own, ema=dict(module=own, updates=one)), own), (named('module.', own), own),
                           (dict(model=own, opt={f'{i}.step': one for i in range(1000)}), own),
                           (dict(state_dict=named('model.', inside)), inside), (dict(mine=inside, loss=one), inside)):
        torch.save(content, tmp_path / 'a.pth')
        assert read_state(str(tmp_path / 'a.pth'))['state_dict'].keys() == names.keys()
    torch.save(dict(state_dict=own, best_state_dict=negative(own)), tmp_path / 'a.pth')
    with raises(CheckpointError, 'a.pth', 'state_dict, best_state_dict', 'prefix='):
        read_state(str(tmp_path / 'a.pth'))
    training = dict(state_dict=own, meta=dict(epoch=1), optimizer=OPTIMIZER, message_hub={}, ema_state_dict=dict(
        named('module.', negative(own)), steps=torch.tensor(1)))
    torch.save(training, tmp_path / 'b.pth')
    state = read_state(str(tmp_path / 'b.pth'))  # with everything that is needed to resume
    assert state.keys() == training.keys() and torch.equal(state['state_dict']['norm3.bias'], own['norm3.bias'])
