"""Sharded training (``--strategy fsdp``)."""
import signal

import pytest
import torch
from helpers import each_network, fresh_model, images
from runs import end, train, train_together, weights

from mmvit_backbones.training.sharded import blocks

OPTIONS = ['find_unused_parameters=True', 'train_dataloader.dataset.indices=16']


@pytest.mark.training
def test_sharded_training_takes_the_same_steps(tmp_path):
    """A sharded run that is interrupted and resumed matches an unsharded run; unsharded runs accept its checkpoint."""
    end(train_together(tmp_path / 'whole', *OPTIONS))
    runs = train_together(tmp_path / 'work', '--strategy=fsdp', *OPTIONS)
    runs[0].wait_for('Epoch(train) [2][1/2]')
    assert 'Config:' not in runs[0].text and 'training data: 16 images' in runs[0].text, runs[0].text
    runs[1].signal(signal.SIGTERM)
    end(runs, 143)
    end(train_together(tmp_path / 'work', '--strategy=fsdp', '--resume', *OPTIONS))
    expected, actual = weights(tmp_path / 'whole/epoch_3.pth'), weights(tmp_path / 'work/epoch_3.pth')
    assert expected.keys() == actual.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(actual[name], weight, rtol=1e-3, atol=1e-5, msg=name)
    alone = train(tmp_path / 'work', '--resume', '--batch-size', 8)
    assert alone.wait() == 0 and 'training of 3 epochs has already finished' in alone.text, alone.text
    assert '2 process(es) and batch size 4, but this run has 1 process(es) and batch size 8' in alone.text


@pytest.mark.slow
def test_sharding_needs_several_processes(tmp_path):
    run = train(tmp_path / 'work', '--strategy=fsdp')
    assert run.wait() == 1 and '--strategy fsdp needs several processes' in run.error


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
