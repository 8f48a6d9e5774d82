"""What every backbone promises to compilers: one graph, for all sizes of images, with the same gradients."""
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from helpers import each_network, fresh_model, gradients, images, largest_error, shared_model, without_dropout
from torch._dynamo.testing import CompileCounter

FIRST_CALL_SECONDS = 60
# As a detector sees them, scaled down: both orientations, some that strides and windows divide, batches of 1 to 3.
RANDOM = random.Random(0)
SIZES = [(64, 96), (70, 90), (90, 70), (128, 64)] + [(RANDOM.randint(60, 140), RANDOM.randint(60, 200))
                                                     for _ in range(16)]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@contextmanager
def limit_of_processor_time(seconds: float) -> Iterator[None]:
    """Fails after so many seconds of this process alone, however busy the machine is."""

    def stop(*_):
        pytest.fail(f'took more than {seconds} s of processor time')

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@each_network
def test_two_compilations_serve_all_sizes(network):
    """The first may take batch 1 for a constant. Nothing is compiled to machine code or computed: meta tensors."""
    model, counter = fresh_model(network).train().to('meta'), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=counter)
    for i, size in enumerate(SIZES):
        x = torch.empty(1 + i % 3, 3, *size, device='meta')
        with limit_of_processor_time(FIRST_CALL_SECONDS):
            maps = compiled(x)
        assert counter.frame_count <= 2, f'compiled again for a batch of {len(x)} images of {size}'
    assert [x.shape for x in maps] == [x.shape for x in model(x)]


@each_network
def test_compiled_training_step(network):
    """Forward and backward. Compiling kernels (inductor) would take minutes per network."""
    # Dropout is off: a compiled graph draws other random values.
    model, x = without_dropout(fresh_model(network, drop_path_rate=0.)).train(), images(60, 90, batch=1)
    expected = gradients(model, x)
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    sum(out.square().mean() for out in compiled(x)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5, msg=name)


@each_network
@torch.no_grad()
def test_export(network):
    model, x = shared_model(network), images(60, 90, batch=1)
    exported = torch.export.export(model, (x, )).module()
    assert largest_error(exported(x), model(x)) < 1e-4
