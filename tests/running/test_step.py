"""Training steps: mixed precision, checkpointing, full memory and missing kernels."""
import pytest
import torch
from helpers import raises
from mmengine.hooks import Hook
from tiny_runs import runner_of

from mmvit.running.runner import faults_named
from mmvit_backbones.errors import TrainingError

pytest.importorskip('mmpretrain.models')


class NoMemory(Hook):
    """Has no memory in the second epoch."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.epoch:
            raise torch.cuda.OutOfMemoryError(
                'CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 9.50 GiB of which')


def test_full_memory_is_one_line(tmp_path):
    runner = runner_of(tmp_path, custom_hooks=[NoMemory()], default_hooks=dict(
        checkpoint=dict(type='CheckpointHook', interval=1)))
    words = '2.50 GiB', '--batch-size', '--size', '--bf16', 'with_cp', '--compile', f'--resume) goes on from {tmp_path}'
    with raises(TrainingError, *words) as caught, faults_named(runner, 'train'):
        runner.train()
    assert '\n' not in str(caught.value) and 'epoch_1.pth' in str(caught.value)


class NoKernel(Hook):
    """Pools boxes with mmcv's operator, as detectors whose config asks for it."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        from mmcv.ops import roi_align
        roi_align(torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16), torch.zeros(1, 5, dtype=torch.bfloat16), (1, 1))


def test_a_kernel_that_is_missing_for_the_precision_is_one_line(tmp_path):
    runner = runner_of(tmp_path, custom_hooks=[NoKernel()])
    with raises(TrainingError, 'BFloat16', 'use float16') as caught, faults_named(runner, 'train'):
        runner.train()
    assert '\n' not in str(caught.value)
