"""Training steps of a classifier with mixed precision, activation checkpointing and DDP."""
import pytest
import torch
from mmengine.optim import OptimWrapper

from mmvit_backbones import get_model

pytest.importorskip('mmpretrain.models')


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group('gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


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


@pytest.mark.training
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
