"""Sharded training (``--strategy fsdp``)."""
import signal

import pytest
import torch
from helpers import ROOT, each_network, fresh_model, images
from runs import TINY, end, train, train_together, weights
from tiny_runs import Line, runner_of
from torch import nn
from torch.distributed.tensor import DTensor

from mmvit_backbones.engine.strategies.sharded import blocks

OPTIONS = ['find_unused_parameters=True', 'train_dataloader.dataset.indices=16']


@pytest.mark.workflow
def test_sharded_training_takes_the_same_steps(tmp_path):
    """A sharded run that is interrupted and resumed matches an unsharded run; unsharded runs accept its checkpoint."""
    end(train_together(tmp_path / 'whole', *OPTIONS))
    runs = train_together(tmp_path / 'work', '--strategy=fsdp', *OPTIONS)
    runs[0].wait_for('Epoch(train) [2][1/2]')
    runs[1].signal(signal.SIGTERM)
    end(runs, 143)
    end(train_together(tmp_path / 'work', '--strategy=fsdp', '--resume', *OPTIONS))
    expected, actual = weights(tmp_path / 'whole/epoch_3.pth'), weights(tmp_path / 'work/epoch_3.pth')
    assert expected.keys() == actual.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(actual[name], weight, rtol=1e-3, atol=1e-5, msg=name)
    alone = train(tmp_path / 'work', '--resume', 'train_dataloader.batch_size=8')
    assert alone.wait() == 0, alone.text
    assert '2 process(es) and batch size 4, but this run has 1 process(es) and batch size 8' in alone.text


def test_sharding_needs_several_processes(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match='1'):
        run('train', str(TINY), '--strategy=fsdp', '--work-dir', str(tmp_path))
    assert '--strategy fsdp needs several processes' in capsys.readouterr().err


@each_network
@torch.no_grad()
def test_blocks_are_called(network):
    """FSDP gathers the weights of a block only when the block is called."""
    model, called = fresh_model(network).eval(), set()
    listed = list(blocks(model))
    for block in listed:
        block.register_forward_pre_hook(lambda module, _: called.add(module))
    model(images(70, 90))
    assert called == set(listed)


class Deep(nn.Module):
    """Two blocks in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def deep_line() -> Line:
    model = Line()
    model.backbone, model.linear = Deep(), nn.Sequential(model.linear)
    model.linear.append(model.backbone)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    return model


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(torch.cuda.is_available(), reason='the process group is for CPUs')
@pytest.mark.usefixtures('process_group')
def test_checkpoints_of_a_sharded_training_are_whole(tmp_path):
    """A single process has all shards. A resumed run takes the same steps."""
    changes = dict(optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
                   param_scheduler=[dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=9)])

    def sharded() -> dict:  # FlexibleRunner adds its work dir and its name to the strategy
        return dict(kind='FlexibleRunner', strategy=dict(type='ShardedStrategy'), **changes)

    def hooks(**options) -> dict:
        return dict(checkpoint=dict(type='CheckpointHook', interval=1, **options))

    runner_of(tmp_path / 'plain', model=deep_line(), **changes).train()
    runner = runner_of(tmp_path / 'whole', model=deep_line(), default_hooks=hooks(), **sharded())
    runner.train()
    assert all(isinstance(parameter, DTensor) for parameter in runner.model.parameters())
    path = str(tmp_path / 'whole/epoch_1.pth')
    runner_of(tmp_path / 'resumed', model=deep_line(), load_from=path, resume=True, **sharded()).train()
    expected, *others = (torch.load(tmp_path / name / 'epoch_3.pth', weights_only=False)
                         for name in ('plain', 'whole', 'resumed'))
    for other in others:
        torch.testing.assert_close(other['state_dict'], expected['state_dict'])
        torch.testing.assert_close(other['optimizer']['state'], expected['optimizer']['state'])
        assert other['param_schedulers'] == expected['param_schedulers']
        assert {key: other['meta'][key] for key in ('epoch', 'iter', 'seed')} == {
            key: expected['meta'][key] for key in ('epoch', 'iter', 'seed')}
        assert other['meta'].keys() >= {'time', 'mmengine_version'}


@pytest.mark.skipif(torch.cuda.is_available(), reason='the process group is for CPUs')
@pytest.mark.usefixtures('process_group')
@pytest.mark.parametrize('options, missing', [
    ({}, 'param_schedulers'), (dict(save_optimizer=False), 'optimizer'),
    (dict(save_param_scheduler=False), 'param_schedulers')])
def test_parts_of_a_sharded_checkpoint(options, missing, tmp_path):
    schedule = dict(param_scheduler=[dict(type='ConstantLR', by_epoch=False)]) if options else {}
    runner = runner_of(tmp_path, 'FlexibleRunner', strategy=dict(type='ShardedStrategy'), custom_hooks=[],
                       train_cfg=dict(by_epoch=True, max_epochs=1), **schedule)
    runner.train()
    runner.strategy.save_checkpoint(str(tmp_path / 'a.pth'), **options)
    parts = {'state_dict', 'optimizer', 'param_schedulers', 'meta'} - {missing}
    assert torch.load(tmp_path / 'a.pth', weights_only=False).keys() == parts
