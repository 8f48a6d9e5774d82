"""Training steps: mixed precision, checkpointing, full memory and missing kernels."""
import pytest
import torch
from helpers import raises
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from tiny_runs import runner_of

from mmvit.running.runner import faults_named
from mmvit_backbones import get_model
from mmvit_backbones.errors import TrainingError

pytest.importorskip('mmpretrain.models')


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


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


def losses(model, wrapper, images, labels, steps: int = 4) -> list[float]:
    from mmpretrain.structures import DataSample
    samples = [DataSample().set_gt_label(int(label)) for label in labels]
    found = []
    for _ in range(steps):
        with wrapper.optim_context(model):
            loss = model(images, samples, mode='loss')['loss']
        wrapper.update_params(loss)
        found.append(loss.item())
    return found


@pytest.mark.workflow
@pytest.mark.parametrize('name', ['rest_lite', 'vitae_tiny'])
@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.filterwarnings('ignore:Grad strides do not match')
@pytest.mark.usefixtures('process_group')
def test_a_classifier_learns(name, amp):
    model = get_model(name, num_classes=3, with_cp=True, drop_path_rate=0.).train()
    model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.autocast('cpu', torch.bfloat16, enabled=amp):  # MMEngine's wrapper for mixed precision needs a GPU
        found = losses(model, OptimWrapper(optimizer), torch.randn(4, 3, 64, 64), [0, 1, 2, 0])
    assert found[-1] < found[0]
