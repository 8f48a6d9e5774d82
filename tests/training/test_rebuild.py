"""Resuming with other settings of the optimizer and the schedulers, in the test's own process."""
import pytest
import torch
from helpers import raises
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from tiny_runs import Line, loader_of, runner_of

from mmvit_backbones.errors import TrainingError
from mmvit_backbones.training.rebuild import same_settings, settings_of, use_new_settings

pytestmark = pytest.mark.usefixtures('own_signals')


class Rates(Hook):
    """Notes the learning rate of each step."""

    def __init__(self) -> None:
        self.rates = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.rates[runner.iter] = runner.optim_wrapper.get_lr()['lr'][0]


def rates(work_dir, lr: float, epochs: int, schedulers, by_epoch: bool = True, **changes) -> dict[int, float]:
    """Trains, and returns the learning rate of each step."""
    if by_epoch:
        changes.update(train_cfg=dict(by_epoch=True, max_epochs=epochs),
                       default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1)))
    else:
        changes.update(train_cfg=dict(by_epoch=False, max_iters=4 * epochs),
                       train_dataloader=loader_of(sampler='InfiniteSampler'),
                       default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=4)))
    runner = runner_of(work_dir, optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9)),
                       param_scheduler=[dict(schedule) for schedule in schedulers], **changes)
    hook = Rates()
    runner.register_hook(hook)
    runner.train()
    return hook.rates


LINEAR = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=10)
COSINE = dict(type='CosineAnnealingLR', T_max=4, by_epoch=True)


@pytest.mark.parametrize('by_epoch', [True, False])
def test_schedules_continue_as_if_the_new_settings_had_been_used_from_the_start(by_epoch, tmp_path):
    """A training by iterations is a single epoch for MMEngine, so schedules by epoch keep their initial value."""
    before, now = (0.02, 2, [LINEAR, COSINE]), (0.01, 4, [{**LINEAR, 'end': 11}, {**COSINE, 'T_max': 5}])
    expected = rates(tmp_path / 'whole', *now, by_epoch=by_epoch)
    rates(tmp_path / 'before', *before, by_epoch=by_epoch)
    path = str(tmp_path / 'before' / ('epoch_2.pth' if by_epoch else 'iter_8.pth'))
    found = rates(tmp_path / 'resumed', *now, by_epoch=by_epoch, load_from=path, resume=True)
    assert found == {step: rate for step, rate in expected.items() if step >= 8} and len(set(found.values())) > 2


def built(runner):
    """Builds the optimizer and the schedulers of a runner, and returns the runner."""
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers or [])
    return runner


def checkpoint_of(runner) -> dict:
    """Returns a checkpoint of a runner after a step."""
    settings = settings_of(built(runner))
    runner.optim_wrapper.update_params(runner.model([torch.ones(1)])['loss'])
    return dict(optimizer=runner.optim_wrapper.state_dict(), meta=dict(iter=1, epoch=0, settings=settings))


@pytest.mark.parametrize('epoch, factor', [(0, 0.5), (1, 0.75)])
def test_schedules_by_epoch_advance_after_the_epoch(epoch, factor, tmp_path):
    """A run that is interrupted after the last step of an epoch has not yet finished the epoch."""
    checkpoint = checkpoint_of(runner_of(tmp_path))
    checkpoint['meta'].update(iter=4, epoch=epoch)
    runner = built(runner_of(tmp_path, param_scheduler=[
        dict(type='LinearLR', start_factor=0.5, by_epoch=True, end=3)]))
    use_new_settings(runner, checkpoint, checkpoint['meta']['settings'], settings_of(runner))
    assert checkpoint['optimizer']['param_groups'][0]['lr'] == pytest.approx(0.01 * factor)


def test_moments_belong_to_their_parameters(tmp_path):
    """The new optimizer has a group per parameter, or only the bias if the weight is frozen."""
    old = checkpoint_of(runner_of(tmp_path))
    groups = dict(optimizer=dict(type='SGD', lr=0.5, momentum=0.9), paramwise_cfg=dict(bias_lr_mult=2.))
    for is_frozen in (False, True):
        model = Line()
        model.linear.weight.requires_grad_(not is_frozen)
        runner = built(runner_of(tmp_path, model=model, optim_wrapper=groups))
        checkpoint, now = {**old, 'meta': dict(old['meta'])}, settings_of(runner)
        assert not same_settings(old['meta']['settings'], now)
        use_new_settings(runner, checkpoint, old['meta']['settings'], now)
        names = [name for group in now['groups'] for name in group['names']]
        assert names == ['linear.bias'] if is_frozen else sorted(names) == ['linear.bias', 'linear.weight']
        moments = {names[index]: state['momentum_buffer'] for index, state in checkpoint['optimizer']['state'].items()}
        old_names = [name for group in old['meta']['settings']['groups'] for name in group['names']]
        assert moments == {name: old['optimizer']['state'][old_names.index(name)]['momentum_buffer'] for name in names}
        assert {group['lr'] for group in checkpoint['optimizer']['param_groups']} <= {0.5, 1.}


@pytest.mark.parametrize('option', ['lr', 'momentum', 'weight_decay'])
def test_each_option_of_the_optimizer_is_a_setting(option, tmp_path):
    options = dict(type='SGD', lr=0.1, momentum=0.8, weight_decay=0.1)
    before, now = (settings_of(built(runner_of(tmp_path / name, optim_wrapper=dict(optimizer={**options, **change}))))
                   for name, change in (('before', {}), ('now', {option: 0.3})))
    assert same_settings(before, before) and not same_settings(before, now)


def test_parameters_that_were_frozen_start_without_moments(tmp_path):
    model = Line()
    model.linear.weight.requires_grad_(False)
    checkpoint = checkpoint_of(runner_of(tmp_path, model=model))
    runner = built(runner_of(tmp_path, optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5, momentum=0.9))))
    use_new_settings(runner, checkpoint, checkpoint['meta']['settings'], settings_of(runner))
    assert len(checkpoint['optimizer']['state']) == 1
    runner.optim_wrapper.load_state_dict(checkpoint['optimizer'])
    runner.optim_wrapper.update_params(runner.model([torch.ones(1)])['loss'])
    assert (runner.model.linear.weight != 1).all()


ADAM = dict(optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)))


@pytest.mark.parametrize('before, now, words', [
    ({}, ADAM, ('SGD, but the config has Adam', 'load_from')),
    (ADAM, {}, ('Adam, but the config has SGD', 'load_from')),
    ({}, dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='loss')]), ('metric', 'keep the settings'))])
def test_settings_that_cannot_be_applied_are_refused(before, now, words, tmp_path):
    checkpoint = checkpoint_of(runner_of(tmp_path, **before))
    runner = runner_of(tmp_path, **now)
    checkpoint_of(runner)
    with raises(TrainingError, 'the checkpoint', *words):
        use_new_settings(runner, checkpoint, checkpoint['meta']['settings'], settings_of(runner))


def test_unchanged_schedule_that_depends_on_a_metric_is_resumed(tmp_path):
    changes = dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='acc')],
                   default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1)))
    runner_of(tmp_path, **changes).train()
    runner = runner_of(tmp_path, load_from=str(tmp_path / 'epoch_1.pth'), resume=True, **changes)
    runner.train()
    assert runner.epoch == 3


def test_settings_of_several_optimizers_cannot_be_changed(tmp_path):
    runner = runner_of(tmp_path)
    parts = {name: OptimWrapper(torch.optim.SGD([p], lr=0.1)) for name, p in runner.model.linear.named_parameters()}
    runner.optim_wrapper, runner.param_schedulers = OptimWrapperDict(**parts), {}
    settings = settings_of(runner)
    assert settings['optimizer'] == 'SGD, SGD'
    assert [group['names'] for group in settings['groups']] == [['linear.weight'], ['linear.bias']]
    with raises(TrainingError, 'several optimizers'):
        use_new_settings(runner, {}, settings, settings)


def test_options_that_only_one_pytorch_version_has_are_ignored(tmp_path):
    settings = checkpoint_of(runner_of(tmp_path, param_scheduler=[dict(LINEAR)]))['meta']['settings']

    def changed(**options) -> dict:
        return {**settings, 'groups': [{**group, 'options': {**group['options'], **options}}
                                       for group in settings['groups']]}

    assert same_settings(settings, changed(newer=True)) and same_settings(changed(newer=True), settings)
    schedule, = settings['schedules']
    for other in (changed(lr=0.5), {**settings, 'optimizer': 'Adam'}, {**settings, 'schedules': []},
                  {**settings, 'schedules': [{**schedule, 'type': 'ConstantLR'}]}, {**settings, 'groups': []},
                  {**settings, 'groups': [{**settings['groups'][0], 'names': ['linear.bias', 'linear.weight']}]}):
        assert not same_settings(settings, other) and not same_settings(other, settings)
