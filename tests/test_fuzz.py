"""Tests with random inputs. FUZZ_SEED is the seed, and FUZZ_FACTOR multiplies the number of inputs (`make fuzz`)."""
import copy
import os
import random
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from helpers import each_network, relative_error, shared_model

SEED = int(os.environ.get('FUZZ_SEED', 0))
FACTOR = int(os.environ.get('FUZZ_FACTOR', 1))  # a factor of 50 tests 200 image sizes per network


def cases(name: str, count: int) -> Iterator[random.Random]:
    """Yields random number generators that produce the same numbers on every machine."""
    for number in range(count * FACTOR):
        yield random.Random(f'{name} {SEED} {number}')


def random_size(source: random.Random) -> int:
    return int(2**source.uniform(0, 7.3))


def random_images(source: random.Random) -> torch.Tensor:
    """Returns images of random size, batch size and memory layout."""
    batch, height, width = source.choice([0, 1, 1, 2, 3]), random_size(source), random_size(source)
    generator = torch.Generator().manual_seed(source.randrange(2**31))
    layout = source.choice(['plain', 'channels_last', 'transposed', 'slice', 'repeated'])
    if layout == 'transposed':
        return torch.randn(batch, 3, width, height, generator=generator).transpose(2, 3)
    if layout == 'slice':
        return torch.randn(batch, 4, height + 2, 2 * width, generator=generator)[:, 1:, 1:-1, ::2]
    if layout == 'repeated':
        return torch.randn(1, 3, height, width, generator=generator).expand(batch, -1, -1, -1)
    images = torch.randn(batch, 3, height, width, generator=generator)
    return images.to(memory_format=torch.channels_last) if layout == 'channels_last' else images


@cache
def reference_model(network: str) -> torch.nn.Module:
    return copy.deepcopy(shared_model(network)).double()


@cache
def bfloat16_is_right() -> bool:
    """Returns whether bfloat16 convolutions of narrow maps are right, unlike in PyTorch 2.11 on CPUs with AMX."""
    conv, x = torch.nn.Conv2d(3, 16, 4, 4), torch.randn(3, 3, 74, 4)
    with torch.autocast('cpu', torch.bfloat16):
        half = conv(x)
    return relative_error(half, conv(x)) < 0.1


@pytest.mark.slow
@each_network
@torch.no_grad()
def test_network_agrees_with_itself_in_float64(network):
    for source in cases(network, 4):
        images = random_images(source)
        half = source.choice([False, False, True]) and bfloat16_is_right()
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            maps = shared_model(network)(images)
        for got, expected in zip(maps, reference_model(network)(images.double()), strict=True):
            what = (network, tuple(images.shape), images.stride(), half)
            assert got.shape == expected.shape and got.isfinite().all(), what
            assert not got.numel() or relative_error(got, expected) < (0.1 if half else 1e-4), what
