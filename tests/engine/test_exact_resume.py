"""Resuming in the test's own process: interrupted runs, and checkpoints of another run."""
from itertools import islice
from pathlib import Path

import pytest
import torch
from helpers import raises
from mmengine.hooks import Hook
from runs import assert_same_weights
from tiny_runs import CLASSES, Line, loader_of, log_of, runner_of

from mmvit_backbones.errors import TrainingError

BY_STEPS = dict(train_cfg=dict(by_epoch=False, max_iters=12), train_dataloader=loader_of(sampler='InfiniteSampler'),
                default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4)))
WORKERS = dict(train_dataloader=loader_of(num_workers=2))
BY_STEPS_WORKERS = {**BY_STEPS, 'train_dataloader': loader_of(sampler='InfiniteSampler', num_workers=2)}

AVERAGED = dict(custom_hooks=[dict(type='ExactResumeHook'), dict(type='EMAHook', momentum=0.1, update_buffers=True)])


class Crash(Hook):
    """Saves a checkpoint after a step, and ends the training."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.step:
            runner.save_checkpoint(runner.work_dir, 'crash.pth', meta=dict(epoch=runner.epoch, iter=runner.iter + 1),
                                   by_epoch=False)
            raise KeyError


def crashed(work_dir, step: int, **changes) -> str:
    """Trains until a step, and returns the path of a checkpoint."""
    runner = runner_of(work_dir, **changes)
    runner.register_hook(Crash(step), priority='LOWEST')
    with pytest.raises(KeyError):
        runner.train()
    end_workers(runner)
    return str(work_dir / 'crash.pth')


def trained(work_dir, **changes) -> None:
    runner = runner_of(work_dir, **changes)
    runner.train()
    end_workers(runner)


def end_workers(runner) -> None:
    """Ends the workers of a training, for each of which the garbage collection would wait for five seconds."""
    if (batches := getattr(runner.train_loop.dataloader, '_iterator', None)) is not None:
        batches._shutdown_workers()


@pytest.mark.parametrize('changes, others', [
    ({}, WORKERS), (WORKERS, dict(train_dataloader=loader_of(num_workers=1))), (BY_STEPS, BY_STEPS_WORKERS),
    (BY_STEPS_WORKERS, BY_STEPS), (AVERAGED, AVERAGED)])
def test_resumed_run_has_the_weights_of_an_uninterrupted_one(changes, others, tmp_path):
    """Samples and losses are random; the run ends within an epoch, and resumes with other workers and no seed."""
    trained(tmp_path / 'whole', **changes)
    path = crashed(tmp_path / 'crashed', 5, **changes)
    trained(tmp_path / 'resumed', load_from=path, resume=True, randomness=dict(seed=None), **others)
    name = 'iter_12.pth' if 'iter' in str(changes) else 'epoch_3.pth'
    assert_same_weights(tmp_path / 'whole' / name, tmp_path / 'resumed' / name)


@pytest.mark.parametrize('sampler, skips', [('InfiniteSampler', True), ('DefaultSampler', False)])
def test_only_endless_batches_are_skipped(sampler, skips, tmp_path):
    """A finite sampler starts again later, where no batch may be skipped, so MMEngine itself advances the data."""
    batches = {}
    for step in (0, 2):
        runner = runner_of(tmp_path, custom_hooks=[dict(type='ExactResumeHook')],
                           **{**BY_STEPS, 'train_dataloader': loader_of(sampler=sampler)})
        loop = runner._train_loop = runner.build_train_loop(runner._train_loop)
        loop._iter = step
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        batches[step] = list(islice(loop.dataloader.batch_sampler, 4))
        assert getattr(loop, 'fast_forward_on_resume', skips) == skips
    assert batches[2][:2] == batches[0][2 if skips else 0:][:2]


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """Returns the checkpoint of a training by one epoch."""
    folder = tmp_path_factory.mktemp('saved')
    runner_of(folder, train_cfg=dict(by_epoch=True, max_epochs=1)).train()
    return torch.load(folder / 'epoch_1.pth', weights_only=False)


class Wider(Line):
    """A network with parameters that the checkpoint lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.Linear(1, 1)


def with_meta(checkpoint: dict, path: Path, **meta) -> str:
    """Saves a checkpoint with changes of its metadata, and returns its path."""
    torch.save({**checkpoint, 'meta': {**checkpoint['meta'], **meta}}, path)
    return str(path)


@pytest.mark.parametrize('meta, changes, words', [
    ({}, dict(train_dataloader=loader_of(batch_size=4)),
     ('1 process(es) and batch size 2', '1 process(es) and batch size 4', 'images per step', 'load_from')),
    (dict(world_size=2), {}, ('2 process(es) and batch size 2', '1 process(es) and batch size 2', 'load_from')),
    ({}, dict(train_dataloader=loader_of(length=16)), ('4 steps', '8 steps', 'load_from')),
    ({}, BY_STEPS, ('4 steps', 'without epochs', 'load_from')),
    (dict(epoch_length=None), {}, ('without epochs', '4 steps', 'load_from')),
    ({}, dict(train_dataloader=loader_of(classes=CLASSES[::-1])), ('cat, dog', 'dog, cat', 'load_from')),
    ({}, dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1))), ('SGD', 'AdamW', 'load_from')),
    ({}, dict(model=Wider()), ('2 parameters', '4 parameters', 'frozen stages', 'load_from'))])
def test_checkpoint_of_another_training_is_refused(saved, meta, changes, words, tmp_path):
    weights = changes['model'].state_dict() if 'model' in changes else saved['state_dict']
    path = with_meta({**saved, 'state_dict': weights}, tmp_path / 'other.pth', **meta)
    with raises(TrainingError, *words):
        runner_of(tmp_path, load_from=path, resume=True, **changes).train()


def test_weights_of_another_training_are_loaded(saved, tmp_path):
    path = with_meta(saved, tmp_path / 'other.pth')
    runner = runner_of(tmp_path, load_from=path, train_dataloader=loader_of(batch_size=4),
                       optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)))
    runner.train()
    assert runner.iter == 6
    torch.testing.assert_close(runner.model.state_dict(), saved['state_dict'], rtol=0, atol=0)


def test_same_number_of_images_per_step_in_other_processes_is_a_warning(saved, tmp_path):
    text = '2 process(es) and batch size 1, but this run has 1 process(es) and batch size 2'
    for meta in (dict(world_size=2, batch_size=1), {}):
        folder = tmp_path / str(len(meta))
        path = with_meta(saved, tmp_path / 'other.pth', **meta)
        runner_of(folder, load_from=path, resume=True, train_cfg=dict(by_epoch=True, max_epochs=1)).train()
        assert (text in log_of(folder)) == ('process(es)' in log_of(folder)) == bool(meta)


def test_checkpoint_without_this_hook_is_resumed(tmp_path):
    runner_of(tmp_path / 'plain', train_cfg=dict(by_epoch=True, max_epochs=1), custom_hooks=[],
              train_dataloader=loader_of(length=16)).train()
    path = str(tmp_path / 'plain/epoch_1.pth')
    runner = runner_of(tmp_path / 'run', load_from=path, resume=True)
    runner.train()
    assert runner.epoch == 3 and 'process(es)' not in log_of(tmp_path / 'run')


class Rates(Hook):
    """Notes the learning rate of each step."""

    def __init__(self) -> None:
        self.rates = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.rates[runner.iter] = runner.optim_wrapper.get_lr()['lr'][0]


def rates(work_dir, lr: float, epochs: int, schedulers, **changes) -> dict[int, float]:
    """Trains, and returns the learning rate of each step."""
    runner = runner_of(work_dir, optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9)),
                       param_scheduler=[dict(schedule) for schedule in schedulers],
                       train_cfg=dict(by_epoch=True, max_epochs=epochs),
                       default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)), **changes)
    hook = Rates()
    runner.register_hook(hook)
    runner.train()
    return hook.rates


def test_schedules_continue_as_if_the_new_settings_had_been_used_from_the_start(tmp_path):
    warm_up = dict(type='LinearLR', start_factor=0.1, by_epoch=False)
    cosine = dict(type='CosineAnnealingLR', by_epoch=True)
    now = 0.01, 4, [{**warm_up, 'end': 11}, {**cosine, 'T_max': 5}]
    expected = rates(tmp_path / 'whole', *now)
    rates(tmp_path / 'before', 0.02, 2, [{**warm_up, 'end': 10}, {**cosine, 'T_max': 4}])
    found = rates(tmp_path / 'resumed', *now, load_from=str(tmp_path / 'before/epoch_2.pth'), resume=True)
    assert found == {step: rate for step, rate in expected.items() if step >= 8} and len(set(found.values())) > 2


def test_schedule_that_depends_on_a_metric_is_resumed(tmp_path):
    changes = dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='acc')],
                   default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)))
    runner_of(tmp_path, **changes).train()
    runner = runner_of(tmp_path, load_from=str(tmp_path / 'epoch_1.pth'), resume=True, **changes)
    runner.train()
    assert runner.epoch == 3
