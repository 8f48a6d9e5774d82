"""Networks on a GPU with each choice of kernels: agreement with the CPU in float64, streams, graphs, determinism."""
import os
import re
from functools import cache

import pytest
import torch
from helpers import ROOT, fresh_model, images, relative_error, trained_model
from subcommands import call
from tiny_configs import TINY_CONFIGS
from torch import Tensor, nn

from mmvit_backbones.ops import use_kernels

os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')  # required by deterministic algorithms
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
KERNELS = {**dict.fromkeys(['ReMViTv2', 'ReSwin', 'ReViT'], (None, 'reference', 'triton')),
           **dict.fromkeys(['SwinVSA', 'ViTAEv2VSA'], (None, 'reference'))}
CHOICES = [(network, kernels) for network in sorted(TINY_CONFIGS) for kernels in KERNELS.get(network, (None, ))]
each_choice = pytest.mark.parametrize('network, kernels', CHOICES)


@pytest.fixture(autouse=True)
def no_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', False)


def step(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Returns the outputs and the gradients of all parameters, on the CPU."""
    model.zero_grad()
    outs = model(x)
    sum(out.square().mean() for out in outs).backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    return {name: value.detach().cpu() for name, value in [*found.items(), *enumerate(outs)]}


@cache
def exact_step(network: str, size: tuple[int, int]) -> dict[str, Tensor]:
    return step(trained_model(network).eval().double(), images_of(size).double())


def images_of(size: tuple[int, int]) -> Tensor:
    torch.manual_seed(1)
    return images(*size)


def assert_agree(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Asserts that deviations are small; the gradients of keys' biases are zero, but for rounding."""
    least = 1e-3 * max(value.norm() for value in expected.values())
    for name, value in expected.items():
        error = (actual[name].double() - value.double()).norm() / max(value.norm(), least)
        assert error <= tolerance, f'{name}: {error}'


@each_choice
def test_steps_agree_with_the_cpu(network, kernels):
    """Also for images of another size, which leave partial windows."""
    model = trained_model(network).eval().cuda()
    for size in (64, 96), (57, 43):
        with use_kernels(kernels):
            actual = step(model, images_of(size).cuda())
        assert_agree(actual, exact_step(network, size), 1e-3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_choice
def test_autocast_trains(network, kernels, dtype):
    model = fresh_model(network, drop_path_rate=0.1).cuda().train()
    with use_kernels(kernels), torch.autocast('cuda', dtype):
        loss = sum(out.float().square().mean() for out in model(images().cuda()))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@each_choice
@torch.no_grad()
def test_kernels_run_on_the_current_stream(network, kernels):
    model, x = fresh_model(network).eval().cuda(), images().cuda()
    with use_kernels(kernels):
        expected = model(x)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            late = torch.zeros_like(x)
            torch.cuda._sleep(50_000_000)  # clock cycles, which are longer than all launches
            outs = model(late.copy_(x))
        stream.synchronize()
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(outs, expected))


@each_choice
@torch.no_grad()
def test_cuda_graphs_replay(network, kernels):
    model, x = fresh_model(network).eval().cuda(), images().cuda()
    with use_kernels(kernels):
        expected = model(2 * x)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            model(x)  # what happens once, such as compilation, is not captured
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outs = model(x)
        x.mul_(2)
        graph.replay()
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(outs, expected))


@pytest.mark.parametrize('network', ['SwinVSA', 'ViTAEv2VSA'])
def test_deterministic_algorithms_repeat_a_step(network):
    """PyTorch has no deterministic gradients of other networks' interpolated positions."""
    model, x, steps = trained_model(network).cuda().train(), images().cuda(), []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            torch.manual_seed(1)
            steps.append(step(model, x))
    finally:
        torch.use_deterministic_algorithms(False)
    for name, value in steps[0].items():
        assert torch.equal(steps[1][name], value), name


@pytest.mark.compiler
@each_choice
def test_compiled_steps_agree(network, kernels):
    model, x = trained_model(network).cuda().eval(), images().cuda()
    with use_kernels(kernels):
        expected = step(model, x)
        model.compile()
        assert_agree(step(model, x), expected, 1e-3)


@pytest.mark.slow
def test_a_check_says_how_much_memory_is_needed(tmp_path, capsys):
    """Of the steps and the validation; more than the weights, and less than there is."""
    pytest.importorskip('mmpretrain')
    call('train', 'rest_lite', '--class-folder', ROOT / 'data/flowers_mini', '--size', 64, '--no-pretrained', '--check',
         '--work-dir', tmp_path / 'run')
    used, total = map(float, re.search(r'at least ([\d.]+) of ([\d.]+) GiB', capsys.readouterr().out).groups())
    assert 0.1 <= used <= total == pytest.approx(torch.cuda.get_device_properties(0).total_memory / 2**30, abs=0.5)
