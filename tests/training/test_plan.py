"""Checks before training: the length of the schedule, and the optimizer; the summary."""
import pytest
import torch
from helpers import raises
from mmengine.evaluator import Evaluator
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.optim import AmpOptimWrapper, ConstantLR, CosineAnnealingLR, LinearLR, OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from tiny_runs import Line, Samples, loader_of, log_of, runner_of
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.plan import (
    QuietFlexibleRunner,
    QuietRunner,
    SummaryHook,
    batch_size_of,
    check_batches,
    learning_rates,
    num_images,
    optim_wrappers,
    plan,
    precision,
    schedules,
    unfitting_schedule,
    unusual,
)


def unfitting(*schedules: tuple[type, dict]) -> str | None:
    """Returns the warning for a run of 100 steps with ten steps per epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.)
    return unfitting_schedule([kind(optimizer, **options) for kind, options in schedules], 100, 10)


WARM_UP = LinearLR, dict(start_factor=0.1, by_epoch=False, end=5)


@pytest.mark.parametrize('schedules', [
    [], [WARM_UP], [WARM_UP, (ConstantLR, dict(by_epoch=True, end=3))],
    [WARM_UP, (CosineAnnealingLR, dict(T_max=10, by_epoch=True, end=10))],
    [(CosineAnnealingLR, dict(T_max=100, by_epoch=False, end=100))],
    [(CosineAnnealingLR, dict(T_max=9, by_epoch=True, end=9))],  # the last rate is kept for the remaining steps
    [(CosineAnnealingLR, dict(T_max=100, by_epoch=False))]])
def test_schedules_that_fit(schedules):
    assert unfitting(*schedules) is None


@pytest.mark.parametrize('by_epoch, end, steps', [(True, 20, 200), (True, 8, 80), (False, 101, 101), (False, 89, 89)])
def test_schedules_that_do_not_fit(by_epoch, end, steps):
    cosine = CosineAnnealingLR, dict(T_max=end, by_epoch=by_epoch, end=end)
    assert f'{steps} steps, but training has 100' in unfitting(WARM_UP, cosine)


def test_the_longest_of_several_schedules_counts():
    long, short = ((CosineAnnealingLR, dict(T_max=end, by_epoch=False, end=end)) for end in (200, 100))
    for both in (long, short), (short, long):
        assert '200 steps, but training has 100' in unfitting(*both)


# ---- the summary


class Stopped(Exception):
    pass


class Stop(Hook):
    """Ends a training before its first step."""

    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        raise Stopped


def prepared(work_dir, **changes) -> Runner:
    """Returns a runner before the first step of its training."""
    runner = runner_of(work_dir, **changes)
    runner.register_hook(Stop())
    with pytest.raises(Stopped):
        runner.train()
    return runner


def data(length: int = 8, classes=('cat', 'dog'), **attributes) -> Samples:
    samples = Samples(length, classes)
    vars(samples).update(attributes)
    return samples


def large_model() -> Line:
    model = Line()
    model.backbone, model.head = nn.Linear(1500, 1000).requires_grad_(False), nn.Linear(1000, 1000)
    return model


@pytest.mark.usefixtures('own_signals')
class TestSummary:

    def test_training_by_epochs(self, tmp_path):
        runner = prepared(
            tmp_path, model=large_model(), train_dataloader=loader_of(data(ann_file='a.json', data_root='flowers')),
            val_dataloader=loader_of(data(6, data_root='roses')), val_cfg=dict(), val_evaluator=Evaluator([]),
            train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=2))
        runner.register_hook(EarlyStoppingHook('acc', patience=4))
        assert plan(runner) == {
            'model': 'Line with Linear, 2.5 M parameters, 1.5 M of them frozen', 'weights': 'random',
            'training data': '8 images from a.json', 'classes': '2: cat, dog',
            'length': '3 epochs of 4 steps, 2 images per step', 'learning rate': '0.01 at its peak, SGD, constant',
            'precision': 'float32', 'device': 'cpu', 'work dir': f'{tmp_path}, log in {runner.log_dir}',
            'validation': '6 images from roses, every 2 epochs',
            'early stop': 'after 4 validations without a better acc'}

    def test_training_by_steps(self, tmp_path):
        runner = prepared(
            tmp_path, train_dataloader=loader_of(data(classes='abcdef')), train_cfg=dict(by_epoch=False, max_iters=12),
            val_dataloader=loader_of(), val_cfg=dict(), val_evaluator=Evaluator([]),
            param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
                             dict(type='ConstantLR', factor=0.5, begin=5, by_epoch=False)])
        lines = plan(runner)
        assert lines['classes'] == '6: a, b, c, d, e, ...' and lines['model'].startswith('Line, 0.0 M')
        assert (lines['length'], lines['validation']) == ('12 steps, 2 images per step', '8 images, every 1000 steps')
        assert lines['learning rate'] == ('0.01 at its peak, SGD, LinearLR from step 0 to step 5, '
                                          'ConstantLR from step 5 to step 12')
        assert 'early stop' not in lines

    @pytest.mark.parametrize('classes, text', [(None, 'unknown: '), ('abcde', '5: a, b, c, d, e')])
    def test_classes(self, classes, text, tmp_path):
        assert plan(prepared(tmp_path, train_dataloader=loader_of(data(classes=classes))))['classes'] == text

    @pytest.mark.parametrize('cfg, text', [
        (dict(load_from='a.pth'), 'a.pth'), (dict(load_from='a.pth', resume=True), 'a.pth, resumed after step 0'),
        (dict(model=dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='b.pth')))), 'b.pth'),
        (dict(model=dict(backbone=dict(init_cfg=[dict(type='Normal')]))), 'random')])
    def test_weights(self, cfg, text, tmp_path):
        runner = prepared(tmp_path)
        runner.cfg.merge_from_dict(cfg)
        assert plan(runner)['weights'] == text
        assert 'validation' not in plan(runner)

    def test_learning_rates_of_several_groups_in_a_resumed_run(self, tmp_path):
        runner = prepared(tmp_path, model=large_model(), optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.01), paramwise_cfg=dict(bias_lr_mult=4.)), param_scheduler=dict(
                type='LinearLR', start_factor=0.5, by_epoch=True, end=2))
        assert learning_rates(runner) == '0.01 to 0.04 at their peak, SGD, LinearLR from epoch 0 to epoch 2'
        runner.train_loop._iter = 4
        assert '0.01 to 0.04 at their peak, 0.005 to 0.02 now' in learning_rates(runner)

    def test_several_optimizers(self, tmp_path):
        runner = runner_of(tmp_path)
        assert optim_wrappers(runner) == schedules(runner) == []
        parts = [OptimWrapper(kind(runner.model.parameters(), lr=0.1)) for kind in (torch.optim.SGD, torch.optim.Adam)]
        runner.optim_wrapper = OptimWrapperDict(a=parts[0], b=parts[1])
        runner.param_schedulers = {name: [ConstantLR(part, by_epoch=False)] for name, part in zip('ab', parts)}
        assert optim_wrappers(runner) == parts
        assert learning_rates(runner) == ('0.1 at its peak, Adam, SGD, ConstantLR from step 0, '
                                          'ConstantLR from step 0')

    @pytest.mark.parametrize('dtype, text', [(None, 'float16'), (torch.bfloat16, 'bfloat16')])
    def test_mixed_precision(self, dtype, text, tmp_path):
        runner = runner_of(tmp_path)
        runner.optim_wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)  # its constructor needs a GPU
        runner.optim_wrapper.cast_dtype = dtype
        assert precision(runner) == text

    @pytest.mark.parametrize('length, batch_size, epochs, classes, texts', [
        (8, 4, 1, 'ab', []), (8, 8, 1, 'ab', ['single step']), (8, 8, 2, 'ab', []), (8, 4, 1, None, []),
        (8, 4, 0, 'ab', []),
        (8, 9, 2, 'ab', ['a step takes 9 images, but the data set has only 8']), (8, 4, 1, 'b', ['only class is b'])])
    def test_unusual_settings(self, length, batch_size, epochs, classes, texts, tmp_path):
        runner = prepared(tmp_path, train_dataloader=loader_of(data(length, classes), batch_size=batch_size),
                          train_cfg=dict(by_epoch=True, max_epochs=epochs))
        assert [text in found for found, text in zip(unusual(runner), texts, strict=True)] == [True] * len(texts)

    @pytest.mark.parametrize('kind', [QuietRunner, QuietFlexibleRunner])
    def test_console_starts_with_the_summary(self, kind, tmp_path, capsys):
        """Before, it has only warnings, but not those that each run has; the log file has everything."""
        runner = runner_of(tmp_path, kind, train_cfg=dict(by_epoch=True, max_epochs=1), custom_hooks=[],
                           train_dataloader=loader_of(batch_size=8),
                           param_scheduler=dict(type='LinearLR', by_epoch=False, end=7))
        runner.register_hook(SummaryHook())
        runner.logger.info('early information')
        for text in ('linear.bias is skipped since its requires_grad=False', 'FileClient will be deprecated in future'):
            runner.logger.warning(text)
        runner.logger.warning('early warning')
        runner.logger.error('early error')
        runner.train()
        shown = capsys.readouterr().out
        before, after = shown.split('         model: Line, ')
        assert 'early warning' in before and 'early error' in before
        assert not any(text in before for text in ('early information', 'is skipped since', 'FileClient'))
        assert '     precision: float32' in after and 'Saving checkpoint' in after
        assert 'schedule has 7 steps, but training has 1' in after
        assert 'is this intended? training has a single step' in after
        assert 'early information' in log_of(tmp_path) and 'is skipped since' in log_of(tmp_path)

    def test_usual_settings_have_no_warning(self, tmp_path):
        runner = runner_of(tmp_path)
        runner.register_hook(SummaryHook())
        runner.train()
        assert 'intended' not in log_of(tmp_path) and 'schedule has' not in log_of(tmp_path)


class Endless(IterableDataset):
    def __iter__(self):
        yield from ()


def test_an_epoch_without_a_batch_is_refused(tmp_path):
    loader = dict(batch_size=9, drop_last=True, dataset=Samples(8), sampler=dict(type='DefaultSampler'))
    with raises(UsageError, '--batch-size', 'at most 8', 'got 9'):
        check_batches(runner_of(tmp_path, train_dataloader=loader))


def test_data_without_a_length_or_a_batch_size_are_named():
    with raises(TypeError, 'Endless', 'length'):
        num_images(Endless())
    batches = BatchSampler(range(8), 2, drop_last=False)
    loader = DataLoader(Samples(), batch_sampler=batches)
    assert batch_size_of(loader) == 2 and num_images(Samples(3)) == 3
    with raises(TypeError, 'list', 'batch_size'):
        batch_size_of(DataLoader(Samples(), batch_sampler=[[0, 1]]))
